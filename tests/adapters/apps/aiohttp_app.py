"""
An aiohttp app.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp_adapter import set_up_usage, usage_point
from conversions import FILE, LONG, STREAMS, astream, prepare


@usage_point("cloud-render")
async def convert(request: web.Request) -> web.StreamResponse:
    what = request.match_info["what"]
    status = prepare(what)
    if what in STREAMS:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        async for part in astream(what):
            await response.write(part)
        return response
    if what == "file":
        return web.FileResponse(FILE)
    return web.Response(status=status, body=LONG if what == "long" else b"")


async def plain(_: web.Request) -> web.Response:
    return web.Response()


def make_app(_: list[str]) -> web.Application:
    app = web.Application()
    app.router.add_post("/convert/{what}", convert)
    app.router.add_post("/plain", plain)
    set_up_usage(app)
    return app

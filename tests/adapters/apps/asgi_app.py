"""
An ASGI app without a framework.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from conversions import FILE, LONG, STREAMS, prepare, stream

from remotion_licensing_integrations import usage_point
from remotion_licensing_integrations.asgi import UsageMiddleware

FILE_BYTES = Path(FILE).read_bytes()


async def wait_until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@usage_point("cloud-render")
async def convert(what: str, receive: Any, send: Any) -> None:
    status = prepare(what)
    body = FILE_BYTES if what == "file" else LONG if what == "long" else b""
    length = [] if what in STREAMS or status in {204, 304} else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": length})
    if what in STREAMS:
        gone = asyncio.ensure_future(wait_until_gone(receive))
        for part in stream(what):
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(0)
            if gone.done():
                return
        gone.cancel()
    await send({"type": "http.response.body", "body": body})


async def route(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})
        return
    folder, _, what = scope["path"][1:].partition("/")
    if folder == "convert" and scope["method"] == "POST":
        await convert(what, receive, send)
        return
    status = 200 if folder == "plain" else 405 if folder == "convert" else 404
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


app = UsageMiddleware(route, endpoints={"POST /rule": "web-render"})

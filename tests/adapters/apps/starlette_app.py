"""
A Starlette app with synchronous endpoints.
"""

from __future__ import annotations

from conversions import FILE, LONG, STREAMS, prepare, stream
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from remotion_licensing_integrations.starlette import UsageMiddleware, usage_point


@usage_point("cloud-render")
def convert(request: Request) -> Response:
    what = request.path_params["what"]
    status = prepare(what)
    if what in STREAMS:
        return StreamingResponse(stream(what), status)
    return FileResponse(FILE) if what == "file" else Response(LONG if what == "long" else b"", status)


def plain(_: Request) -> Response:
    return Response()


app = Starlette(
    routes=[Route("/convert/{what}", convert, methods=["POST"]), Route("/plain", plain, methods=["POST"])],
    middleware=[Middleware(UsageMiddleware)],
)

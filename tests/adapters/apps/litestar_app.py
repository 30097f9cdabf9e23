"""
A Litestar app in the pure ASGI middleware.
"""

from __future__ import annotations

from typing import Any

from conversions import FILE, LONG, STREAMS, astream, prepare
from litestar import Litestar, Response, post
from litestar.response import File, Stream

from remotion_licensing_integrations import usage_point
from remotion_licensing_integrations.asgi import UsageMiddleware


@post("/convert/{what:str}")
@usage_point("cloud-render")
async def convert(what: str) -> Response[Any]:
    status = prepare(what)
    if what in STREAMS:
        return Stream(astream(what), status_code=status)
    return File(FILE) if what == "file" else Response(LONG if what == "long" else b"", status_code=status)


@post("/plain", status_code=200)
async def plain() -> None: ...


app = UsageMiddleware(Litestar([convert, plain]))

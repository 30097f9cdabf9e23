"""
A Quart app in the pure ASGI middleware.
"""

from __future__ import annotations

from typing import Any

from conversions import FILE, LONG, STREAMS, astream, prepare
from quart import Quart, Response, send_file

from remotion_licensing_integrations import usage_point
from remotion_licensing_integrations.asgi import UsageMiddleware

app = Quart(__name__)
app.asgi_app = UsageMiddleware(app.asgi_app)


@app.post("/convert/<what>")
@usage_point("cloud-render")
async def convert(what: str) -> Any:
    status = prepare(what)
    if what == "file":
        return await send_file(FILE)
    return Response(astream(what) if what in STREAMS else LONG if what == "long" else b"", status)


@app.post("/plain")
async def plain() -> str:
    return ""

"""
A FastAPI app with asynchronous endpoints.
"""

from __future__ import annotations

from conversions import FILE, LONG, STREAMS, prepare, stream
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, StreamingResponse

from remotion_licensing_integrations.fastapi import UsageMiddleware, usage_point

app = FastAPI()
app.add_middleware(UsageMiddleware)


@app.post("/convert/{what}")
@usage_point("cloud-render")
async def convert(what: str) -> Response:
    status = prepare(what)
    if what in STREAMS:
        return StreamingResponse(stream(what), status)
    return FileResponse(FILE) if what == "file" else Response(LONG if what == "long" else b"", status)


@app.post("/plain")
async def plain() -> Response:
    return Response()

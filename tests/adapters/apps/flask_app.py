"""
A Flask app.
"""

from __future__ import annotations

from typing import Any

from conversions import FILE, LONG, STREAMS, prepare, stream
from flask import Flask, Response, send_file

from remotion_licensing_integrations.flask import RemotionLicensing, usage_point

app = Flask(__name__)
RemotionLicensing(app)


@app.post("/convert/<what>")
@usage_point("cloud-render")
def convert(what: str) -> Any:
    status = prepare(what)
    if what == "file":
        return send_file(FILE)
    return Response(stream(what) if what in STREAMS else LONG if what == "long" else b"", status)


@app.post("/plain")
def plain() -> str:
    return ""

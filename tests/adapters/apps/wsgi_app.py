"""
A WSGI app without a framework.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from conversions import FILE, LONG, STREAMS, prepare, stream

from remotion_licensing_integrations import usage_point
from remotion_licensing_integrations.wsgi import UsageMiddleware


def begin(start_response: Any, status: int, headers: dict[str, str]) -> None:
    start_response(f"{status} {HTTPStatus(status).phrase}", [*headers.items()])


@usage_point("cloud-render")
def convert(what: str, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    status = prepare(what)
    if what in STREAMS:
        begin(start_response, status, {})
        return stream(what)
    if what == "file":
        file = Path(FILE).open("rb")  # noqa: SIM115 - the server closes it
        begin(start_response, status, {"Content-Length": str(Path(FILE).stat().st_size)})
        return environ["wsgi.file_wrapper"](file)
    body = LONG if what == "long" else b""
    begin(start_response, status, {} if status in {204, 304} else {"Content-Length": str(len(body))})
    return (body[start : start + 65_536] for start in range(0, len(body), 65_536))


def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    folder, _, what = environ["PATH_INFO"][1:].partition("/")
    if folder == "convert" and environ["REQUEST_METHOD"] == "POST":
        return convert(what, environ, start_response)
    begin(start_response, 200 if folder == "plain" else 405 if folder == "convert" else 404, {"Content-Length": "0"})
    return []


app = UsageMiddleware(route)

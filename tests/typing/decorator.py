"""
What the decorator leaves of a function's type, for mypy --strict and pyright; never run.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

# ruff: noqa: D102 - an endpoint of a test explains itself

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, assert_type

from fastapi import FastAPI
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from remotion_licensing_integrations import PendingUsage, current_usage, usage_point

app = FastAPI()


@usage_point("cloud-render")
def convert(name: str, *, width: int = 1280) -> bytes:
    return name.encode() * width


@app.post("/convert")
@usage_point("cloud-render", host="https://myapp.com", is_still=True, is_production=False)
async def convert_async(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


@usage_point("web-render")
def stream(name: str) -> Iterator[bytes]:
    yield name.encode()


@usage_point("web-render")
async def stream_async(name: str) -> AsyncIterator[bytes]:
    yield name.encode()


class Endpoint(HTTPEndpoint):
    @usage_point("cloud-render")
    async def post(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path)


assert_type(convert("a", width=1), bytes)
assert_type(stream("a"), Iterator[bytes])
assert_type(stream_async("a"), AsyncIterator[bytes])
convert_type: Callable[[Request], Coroutine[Any, Any, PlainTextResponse]] = convert_async
Route("/convert", convert_async)

convert(3)  # type: ignore[arg-type]
convert("a", height=1)  # type: ignore[call-arg]
usage_point("cloud-render", "https://myapp.com")  # type: ignore[call-arg]
usage_point(convert)  # type: ignore[arg-type]

usage = current_usage()
assert_type(usage, PendingUsage)
assert_type(usage.defer(), str)
assert_type(usage.host, str | None)
usage.succeeded = False
usage.is_production = None
usage.succeeded = "no"  # type: ignore[assignment]
usage.idempotency_key = None  # type: ignore[assignment]

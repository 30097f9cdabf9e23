"""
How apps without an adapter of their own take the pure ASGI middleware, for mypy --strict and pyright; never run.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

# ruff: noqa: D102 - an endpoint of a test explains itself

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, assert_type

import hypercorn.typing
import litestar.types
import uvicorn
from litestar import Controller, Litestar, get, post
from litestar.middleware import DefineMiddleware
from litestar.response import Stream
from quart import Quart
from quart.views import MethodView

from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder, conversion, current_usage, usage_point
from remotion_licensing_integrations.asgi import UsageMiddleware


@post("/convert")
@usage_point("cloud-render")
async def convert(data: dict[str, str], width: int = 1280) -> dict[str, str]:
    current_usage().label = data["customer"]
    return {"url": f"/done-{width}.mp4"}


@post("/still", sync_to_thread=True)
@usage_point("cloud-render", is_still=True)
def still() -> bytes:
    with conversion("web-render"):
        return b"image"


class Videos(Controller):
    @get("/videos")
    @usage_point("cloud-render")
    async def stream(self, name: str) -> Stream:
        return Stream(produce(name))


async def produce(name: str) -> AsyncIterator[bytes]:
    yield name.encode()


wrapped: litestar.types.Middleware = DefineMiddleware(UsageMiddleware, license_key="rm_pub_4bZ0kQ")
app = Litestar([convert, still, Videos], middleware=[wrapped, UsageMiddleware])
uvicorn.run(UsageMiddleware(app, license_key="rm_pub_4bZ0kQ"))

quart = Quart(__name__)


@quart.post("/convert/<name>")
@usage_point("cloud-render")
async def convert_in_quart(name: str) -> tuple[str, int]:
    return name, 201


@quart.post("/still")
@usage_point("cloud-render", is_still=True)
def still_in_quart() -> bytes:
    return b"image"


class Convert(MethodView):
    @usage_point("cloud-render")
    async def post(self, name: str) -> str:
        return name


quart.add_url_rule("/videos/<name>", view_func=Convert.as_view("convert"))
# What is assigned to `quart.asgi_app`.
served: hypercorn.typing.ASGIFramework = UsageMiddleware(quart.asgi_app, license_key="rm_pub_4bZ0kQ")
kept: Callable[[str], Coroutine[Any, Any, tuple[str, int]]] = convert_in_quart
assert_type(still_in_quart(), bytes)

UsageMiddleware(app, settings=Settings(license_key="rm_pub_4bZ0kQ"), endpoints={"POST /convert": "cloud-render"})
UsageMiddleware(app, recorder=UsageRecorder(on_registered=print, outbox=None))
UsageMiddleware(app, license_key=lambda: "rm_pub_4bZ0kQ", allowed_hosts=["https://myapp.com"], retention=7)
UsageMiddleware(app, licence_key="rm_pub_4bZ0kQ")  # type: ignore[call-arg]
UsageMiddleware(app, retention="7")  # type: ignore[arg-type]
UsageMiddleware(app, idempotency="query")  # type: ignore[arg-type]
UsageMiddleware("app")  # type: ignore[arg-type]
UsageMiddleware(app, Settings())  # type: ignore[call-arg]
Settings(retention="7")  # type: ignore[arg-type]
Settings(retain=7)  # type: ignore[call-arg]
Settings.from_env(delivery="thread")  # type: ignore[arg-type]
Settings.from_env(deliver="worker")  # type: ignore[call-arg]
UsageRecorder(on_register=print)  # type: ignore[call-arg]
UsageRecorder().record(UsagePoint(event="cloud-render", host=None, succeeded="yes"))  # type: ignore[arg-type]

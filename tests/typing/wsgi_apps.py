"""
How Flask apps and other WSGI apps take the middleware and the decorators, for mypy --strict and pyright; never run.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

# ruff: noqa: D102 - a view of a test explains itself

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, assert_type
from wsgiref.simple_server import make_server
from wsgiref.types import WSGIApplication

from flask import Flask, Response
from flask.views import MethodView

from remotion_licensing_integrations import Settings, UsageRecorder
from remotion_licensing_integrations.flask import (
    LimitReached,
    RemotionLicensing,
    conversion,
    current_usage,
    remotion_webhook,
    usage_limit,
    usage_point,
)
from remotion_licensing_integrations.wsgi import UsageMiddleware

app = Flask(__name__)


def let_pass(reached: LimitReached) -> bool:
    return reached.retry_after < 60


@app.post("/convert/<name>")
@usage_limit(1000, per="day", event="cloud-render", on_limit=let_pass)
@usage_point("cloud-render")
def convert(name: str) -> dict[str, str]:
    current_usage().label = name
    return {"url": f"/{name}.mp4"}


@app.post("/still")
@usage_point("cloud-render", is_still=True)
async def still() -> Response:
    async with conversion("web-render"):
        return Response(b"image")


@app.post("/stream")
@usage_point("web-render")
def stream() -> Iterator[bytes]:
    yield b"video"


class Videos(MethodView):
    @usage_point("cloud-render")
    def post(self, name: str) -> str:
        return name


app.add_url_rule("/videos/<name>", view_func=Videos.as_view("videos"))
app.post("/webhooks/remotion")(remotion_webhook("secret", host="https://myapp.com", max_body=1_000))
assert_type(convert("a"), dict[str, str])
assert_type(stream(), Iterator[bytes])
kept: Callable[[], Coroutine[Any, Any, Response]] = still
convert(3)  # type: ignore[arg-type]
usage_point("cloud")  # type: ignore[arg-type]
usage_limit(10, per="week")  # type: ignore[arg-type]
remotion_webhook("secret", events="web-render")  # type: ignore[call-arg]
remotion_webhook("secret", event="web")  # type: ignore[arg-type]

RemotionLicensing(app, license_key="rm_pub_4bZ0kQ", allowed_hosts=["https://myapp.com"])
RemotionLicensing(settings=Settings(), endpoints={"POST /convert": "cloud-render"}).init_app(app)
assert_type(RemotionLicensing().recorder, UsageRecorder)
RemotionLicensing(app, licence_key="rm_pub_4bZ0kQ")  # type: ignore[call-arg]
RemotionLicensing(app, retention="7")  # type: ignore[arg-type]
RemotionLicensing(app, endpoints={"POST /convert": "cloud"})  # type: ignore[dict-item]
RemotionLicensing("app")  # type: ignore[arg-type]

wrapped: WSGIApplication = UsageMiddleware(app, license_key="rm_pub_4bZ0kQ")
make_server("127.0.0.1", 8000, UsageMiddleware(app.wsgi_app, recorder=UsageRecorder())).serve_forever()
UsageMiddleware(app, endpoints={"POST /convert": "cloud-render"}, delivery="external")
UsageMiddleware(app, licence_key="rm_pub_4bZ0kQ")  # type: ignore[call-arg]
UsageMiddleware(app, delivery="thread")  # type: ignore[arg-type]
UsageMiddleware(app, endpoints={"POST /convert": "cloud"})  # type: ignore[dict-item]
UsageMiddleware(app, Settings())  # type: ignore[call-arg]
UsageMiddleware("app")  # type: ignore[arg-type]

"""
The pure ASGI middleware around real Quart apps, and the decorator on their views.
"""

# ruff: noqa: D102, FBT001 - views of tests explain themselves, and pytest passes parameters by name

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import quart
from quart import Blueprint, Quart, abort, websocket
from quart.views import MethodView, View

from remotion_licensing_integrations import (
    conversion,
    current_usage,
    usage_point,
)
from remotion_licensing_integrations.asgi import UsageMiddleware

from ._asgi import ORIGIN, PATIENCE, QUIET, exchange, http_scope, request
from ._recorders import NotingRecorder

HEADERS = {"Origin": ORIGIN}
blueprint = Blueprint("videos", __name__, url_prefix="/videos")


class ConversionError(Exception):
    pass


@blueprint.post("/convert/<int:number>")
@usage_point("cloud-render")
async def convert(number: int) -> dict[str, Any]:
    job = await quart.request.get_json()
    current_usage().label = job["url"]
    return {"number": number, "method": quart.request.method}


@blueprint.post("/threaded")
@usage_point("cloud-render")
def threaded() -> str:
    current_usage().label = quart.request.path
    with conversion("web-render"):
        return threading.current_thread().name


class Method(MethodView):
    @usage_point("cloud-render")
    async def post(self) -> str:
        return type(self).__name__


class Decorated(View):
    methods = ["POST"]  # noqa: RUF012 - Quart's form
    decorators = [usage_point("cloud-render")]  # noqa: RUF012 - Quart's form

    async def dispatch_request(self) -> str:
        return type(self).__name__


blueprint.add_url_rule("/method", view_func=Method.as_view("method"))
blueprint.add_url_rule("/class", view_func=Decorated.as_view("class"))


@blueprint.post("/upload")
@usage_point("cloud-render")
async def upload() -> str:
    files = await quart.request.files
    return str(len(files["data"].read()))


@blueprint.post("/fail/<how>")
@usage_point("cloud-render")
async def fail(how: str) -> str:
    if how == "http":
        abort(409)
    raise ConversionError if how == "own" else ValueError


@blueprint.post("/fail-threaded")
@usage_point("cloud-render")
def fail_threaded() -> str:
    raise ValueError


@blueprint.post("/stream/<how>")
@usage_point("cloud-render")
async def stream(how: str) -> AsyncIterator[bytes]:
    async def produce() -> AsyncIterator[bytes]:
        yield b"first"
        while how == "endless":
            await asyncio.sleep(0)
            yield b"more"
        yield b"last"

    return produce()


@blueprint.post("/generator")
@usage_point("cloud-render")
async def generator() -> AsyncIterator[bytes]:
    yield b"first"
    yield b"last"


@blueprint.post("/generator-threaded")
@usage_point("cloud-render")
def generator_threaded() -> Iterator[bytes]:
    yield b"first"
    yield b"last"


@blueprint.post("/background")
@usage_point("cloud-render")
async def background() -> str:
    async def break_down() -> None:
        raise ValueError

    quart.current_app.add_background_task(break_down)
    return "done"


@blueprint.post("/undecorated")
async def undecorated() -> str:
    return "done"


@blueprint.before_request
async def authorize() -> None:
    if quart.request.args.get("user") == "none":
        abort(401)


@blueprint.errorhandler(ConversionError)
async def apologize(_: ConversionError) -> tuple[str, int]:
    return "sorry", 422


@blueprint.websocket("/socket")
async def socket() -> None:
    await websocket.send("done")


def make_quart() -> Quart:
    app = Quart(__name__)
    app.register_blueprint(blueprint)
    return app


def install(app: Quart, **options: Any) -> Quart:
    app.asgi_app = UsageMiddleware(app.asgi_app, **options)
    return app


def make_app(**settings: Any) -> Quart:
    return install(make_quart(), **{**QUIET, **settings})


def outcomes(recorded: Any) -> list[bool]:
    return [point.succeeded for point in recorded.points]


COUNTED = {
    "method": (200, [True]),
    "class": (200, [True]),
    "stream/whole": (200, [True]),
    "generator": (200, [True]),
    "generator-threaded": (200, [True]),
    "fail/http": (409, [False]),
    "fail/own": (422, [False]),
    "fail/bug": (500, [False]),
    "fail-threaded": (500, [False]),
    "undecorated": (200, []),
}


@pytest.mark.parametrize("path", COUNTED)
def test_outcome(path: str, remotion_usage) -> None:
    """
    A decorated view counts with the status that the client gets, also when error handlers have made it.
    """
    status, expected = COUNTED[path]
    response = request(make_app(), "POST", f"/videos/{path}", headers=HEADERS)

    assert (response.status_code, outcomes(remotion_usage)) == (status, expected)
    assert {point.host for point in remotion_usage.points} <= {ORIGIN}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nowhere", 404),
        ("POST", "/videos/convert/x", 404),
        ("GET", "/videos/threaded", 405),
        ("HEAD", "/videos/threaded", 405),
        ("OPTIONS", "/videos/threaded", 200),
        ("POST", "/videos/threaded?user=none", 401),
    ],
)
def test_not_counted(method: str, path: str, status: int, remotion_usage) -> None:
    """
    What is answered before a view does not count: nothing found, a wrong method, a refusal in `before_request`.
    """
    assert request(make_app(), method, path).status_code == status
    assert outcomes(remotion_usage) == []


def test_invalid_body(remotion_usage) -> None:
    """
    A view that finds its request invalid was entered, so it counts as failed.
    """
    json = {"Content-Type": "application/json"}
    response = request(make_app(), "POST", "/videos/convert/1", content=b"no JSON", headers=json)

    assert (response.status_code, outcomes(remotion_usage)) == (400, [False])


def test_arguments(remotion_usage) -> None:
    """
    A decorated view gets its arguments, and the request.
    """
    response = request(make_app(), "POST", "/videos/convert/7", json={"url": "a.mp4"})

    assert response.json() == {"number": 7, "method": "POST"}
    assert [(point.succeeded, point.label) for point in remotion_usage.points] == [(True, "a.mp4")]


def test_threaded_view(remotion_usage) -> None:
    """
    A view in a thread adjusts the point of its request, and a block within it counts by itself.
    """
    response = request(make_app(), "POST", "/videos/threaded")

    assert response.text != threading.current_thread().name
    assert [(point.event, point.label) for point in remotion_usage.points] == [
        ("web-render", "/videos/threaded"),
        ("cloud-render", "/videos/threaded"),
    ]


def test_upload(remotion_usage) -> None:
    """
    An upload reaches its view whole.
    """
    response = request(make_app(), "POST", "/videos/upload", files={"data": ("a.mp4", b"x" * 1_000_000)})

    assert (response.text, outcomes(remotion_usage)) == ("1000000", [True])


@pytest.mark.parametrize("report", [False, True])
def test_client_leaves_stream(report: bool, remotion_usage) -> None:
    """
    A stream whose client leaves is aborted, and recorded as failed only when that is wanted.
    """
    exchange(make_app(report_aborted=report), path="/videos/stream/endless", scheme="http", leave_after=2)

    assert outcomes(remotion_usage) == [False] * report


@pytest.mark.parametrize("report", [False, True])
def test_response_timeout(report: bool, remotion_usage) -> None:
    """
    A stream that Quart cuts off after its `RESPONSE_TIMEOUT` is aborted, from 0.23 on when its client leaves.
    """
    app = make_app(report_aborted=report)
    app.config["RESPONSE_TIMEOUT"] = 0.01
    done = exchange(app, path="/videos/stream/endless", scheme="http", leave_at=0.3)

    assert (done.ended, outcomes(remotion_usage)) == (False, [False] * report)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("report", [False, True])
def test_client_leaves_threaded_view(report: bool, fails: bool, remotion_usage) -> None:
    """
    A view that goes on in its thread after the client has left settles when it ends.
    """
    entered, left = threading.Event(), threading.Event()
    app = make_app(report_aborted=report)

    @app.post("/slow")
    @usage_point("cloud-render")
    def slow() -> str:
        entered.set()
        assert left.wait(PATIENCE)
        if fails:
            raise ValueError
        return "done"

    messages = [{"type": "http.request"}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        assert await asyncio.to_thread(entered.wait, PATIENCE)
        return {"type": "http.disconnect"}

    async def main() -> None:
        await app(http_scope(path="/slow", scheme="http", headers=HEADERS), receive, None)
        assert outcomes(remotion_usage) == []
        left.set()

    asyncio.run(main())  # which waits for its threads

    assert [(point.host, point.succeeded) for point in remotion_usage.points] == [(ORIGIN, not fails)]


def test_background_error(remotion_usage) -> None:
    """
    An error in a background task changes nothing.
    """
    assert request(make_app(), "POST", "/videos/background").text == "done"
    assert outcomes(remotion_usage) == [True]


def test_websocket(remotion_usage) -> None:
    """
    A websocket passes.
    """

    async def talk() -> str:
        async with make_app().test_client().websocket("/videos/socket") as connection:
            return await connection.receive()

    assert asyncio.run(talk()) == "done"
    assert outcomes(remotion_usage) == []


def test_decorator_above_the_route(remotion_usage, caplog) -> None:
    """
    A decorator above the route's has no effect, which the log says when the server starts.
    """
    app = make_app()

    @usage_point("cloud-render")
    @app.post("/misplaced")
    async def misplaced() -> str:
        return "done"

    async def run() -> None:
        async with app.test_app() as running:
            await running.test_client().post("/misplaced")

    asyncio.run(run())

    assert outcomes(remotion_usage) == []
    [record] = [record for record in caplog.records if record.name == "remotion_licensing_integrations"]
    assert record.action == "decorator_misplaced"
    assert "test_decorator_above_the_route" in record.message


def test_lifespan() -> None:
    """
    The recorder lives longer than the app: it starts with the server, and stops after the app's own hooks.
    """
    recorder = NotingRecorder()
    app = install(make_quart(), recorder=recorder)

    @app.while_serving
    async def serve() -> AsyncIterator[None]:
        recorder.happened.append("app starts")
        yield
        recorder.happened.append("app stops")

    async def run() -> None:
        async with app.test_app():
            pass

    asyncio.run(run())

    assert recorder.happened == ["app starts", "recorder starts", "app stops", "recorder stops"]

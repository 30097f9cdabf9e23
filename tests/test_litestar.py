"""
The pure ASGI middleware around real Litestar apps, and the decorator on their handlers.
"""

# ruff: noqa: D102, FBT001 - handlers of tests explain themselves, and pytest passes parameters by name

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from litestar import Controller, Litestar, Request, Response, WebSocket, get, post, route, websocket
from litestar.background_tasks import BackgroundTask
from litestar.datastructures import UploadFile
from litestar.di import Provide
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException, ImproperlyConfiguredException, NotAuthorizedException
from litestar.middleware import DefineMiddleware
from litestar.params import Body
from litestar.response import ServerSentEvent, Stream
from litestar.testing import TestClient

from remotion_licensing_integrations import (
    Settings,
    UsageRecorder,
    conversion,
    current_usage,
    usage_point,
)
from remotion_licensing_integrations.asgi import UsageMiddleware

from ._asgi import ORIGIN, QUIET, exchange, request
from ._recorders import NotingRecorder

# What earlier releases infer can be marked since 2.23 only.
pytestmark = pytest.mark.filterwarnings(r"ignore:\[paths=:DeprecationWarning")

HEADERS = {"Origin": ORIGIN}


@dataclass
class Job:
    url: str
    width: int = 1280


class ConversionError(Exception):
    pass


def quality(level: int = 3) -> int:
    return level


def refuse(*_: Any) -> None:
    raise NotAuthorizedException


@post("/convert/{number:int}")
@usage_point("cloud-render")
async def convert(number: int, data: Job, quality: int, request: Request[Any, Any, Any]) -> list[Any]:
    current_usage().label = data.url
    return [number, data.width, quality, request.method]


@post("/threaded", sync_to_thread=True)
@usage_point("cloud-render")
def threaded(data: Job) -> str:
    current_usage().label = data.url
    return threading.current_thread().name


@post("/blocking", sync_to_thread=False)
@usage_point("cloud-render")
def blocking() -> str:
    with conversion("web-render"):
        return threading.current_thread().name


class Videos(Controller):
    path = "/videos"

    @post("/async")
    @usage_point("cloud-render")
    async def convert(self) -> str:
        return type(self).__name__

    @post("/sync", sync_to_thread=True)
    @usage_point("cloud-render")
    def convert_in_thread(self) -> str:
        return type(self).__name__


@post("/upload")
@usage_point("cloud-render")
async def upload(data: Annotated[UploadFile, Body(media_type=RequestEncodingType.MULTI_PART)]) -> int:
    return len(await data.read())


@post("/fail/{how:str}")
@usage_point("cloud-render")
async def fail(how: str) -> str:
    raise {"http": HTTPException("taken", status_code=409), "own": ConversionError(), "bug": ValueError()}[how]


@post("/stream")
@usage_point("cloud-render")
async def stream() -> Stream:
    async def produce() -> AsyncIterator[bytes]:
        yield b"first"
        yield b"last"

    return Stream(produce())


@post("/events")
@usage_point("cloud-render")
async def events() -> ServerSentEvent:
    async def produce() -> AsyncIterator[str]:
        yield "done"

    return ServerSentEvent(produce())


async def break_down() -> None:
    raise ValueError


@post("/background")
@usage_point("cloud-render")
async def background() -> Response[str]:
    return Response("done", background=BackgroundTask(break_down))


@post("/guarded", guards=[refuse])
@usage_point("cloud-render")
async def guarded() -> str:
    raise AssertionError


@get("/cached", cache=True)
@usage_point("cloud-render")
async def cached() -> str:
    return "done"


@route("/every", http_method=["GET", "POST"])
@usage_point("cloud-render")
async def every() -> None: ...


@post("/undecorated")
async def undecorated() -> str:
    return "done"


@websocket("/socket")
async def socket(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text("done")
    await socket.close()


HANDLERS = [convert, threaded, blocking, Videos, upload, fail, stream, events, background, guarded, cached]
HANDLERS += [every, undecorated, socket]


def make_litestar(**options: Any) -> Litestar:
    return Litestar(
        HANDLERS,
        dependencies={"quality": Provide(quality, sync_to_thread=False)},
        exception_handlers={ConversionError: lambda *_: Response("sorry", status_code=422)},
        logging_config=None,
        **options,
    )


def wrapped(**settings: Any) -> UsageMiddleware:
    return UsageMiddleware(make_litestar(), **{**QUIET, **settings})


def declared(**settings: Any) -> Litestar:
    recorder = UsageRecorder(Settings(**{**QUIET, **settings}))
    return make_litestar(middleware=[DefineMiddleware(UsageMiddleware, recorder=recorder)])


INSTALLED = pytest.mark.parametrize("make_app", [wrapped, declared])


def outcomes(recorded: Any) -> list[bool]:
    return [point.succeeded for point in recorded.points]


COUNTED = {
    "/videos/async": (201, [True]),
    "/videos/sync": (201, [True]),
    "/stream": (201, [True]),
    "/events": (201, [True]),
    "/every": (201, [True]),
    "/fail/http": (409, [False]),
    "/fail/own": (422, [False]),
    "/fail/bug": (500, [False]),
    "/undecorated": (201, []),
}


@INSTALLED
@pytest.mark.parametrize("path", COUNTED)
def test_outcome(path: str, make_app: Any, remotion_usage) -> None:
    """
    A decorated handler counts with the status that the client gets, also when exception handlers have made it.
    """
    status, expected = COUNTED[path]
    response = request(make_app(), "POST", path, headers=HEADERS)

    assert (response.status_code, outcomes(remotion_usage)) == (status, expected)
    assert {point.host for point in remotion_usage.points} <= {ORIGIN}


@INSTALLED
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nowhere", 404),
        ("GET", "/threaded", 405),
        ("HEAD", "/every", 405),
        ("OPTIONS", "/threaded", 204),
        ("POST", "/guarded", 401),
        ("POST", "/threaded", 400),
        ("POST", "/convert/x", 404),
    ],
)
def test_not_counted(method: str, path: str, status: int, make_app: Any, remotion_usage) -> None:
    """
    What Litestar answers itself does not count: nothing found, a wrong method, a guard, an invalid request.
    """
    response = request(make_app(), method, path, json={"link": "a"} if method == "POST" else None)

    assert (response.status_code, outcomes(remotion_usage)) == (status, [])


@INSTALLED
def test_signature(make_app: Any, remotion_usage) -> None:
    """
    A decorated handler gets path parameters, body, dependencies and the request.
    """
    response = request(make_app(), "POST", "/convert/7?level=5", json={"url": "a.mp4"})

    assert response.json() == [7, 1280, 5, "POST"]
    assert [(point.succeeded, point.label) for point in remotion_usage.points] == [(True, "a.mp4")]


def test_openapi() -> None:
    """
    The schema has the parameters of a decorated handler, and its operation the handler's name.
    """
    operation = make_litestar().openapi_schema.paths["/convert/{number}"].post

    assert sorted(parameter.name for parameter in operation.parameters) == ["level", "number"]
    assert "Job" in next(iter(operation.request_body.content.values())).schema.ref
    assert operation.summary == "Convert"


@INSTALLED
def test_threaded_handler(make_app: Any, remotion_usage) -> None:
    """
    A handler in a thread adjusts the point of its request.
    """
    response = request(make_app(), "POST", "/threaded", json={"url": "a.mp4"})

    assert response.text != threading.current_thread().name
    assert [(point.succeeded, point.label) for point in remotion_usage.points] == [(True, "a.mp4")]


@INSTALLED
def test_blocking_handler(make_app: Any, remotion_usage) -> None:
    """
    A synchronous handler on the event loop counts, and a block within it by itself.
    """
    response = request(make_app(), "POST", "/blocking")

    assert response.text == threading.current_thread().name
    assert [(point.event, point.succeeded) for point in remotion_usage.points] == [
        ("web-render", True),
        ("cloud-render", True),
    ]


@INSTALLED
def test_upload(make_app: Any, remotion_usage) -> None:
    """
    An upload reaches its handler whole.
    """
    assert request(make_app(), "POST", "/upload", files={"data": b"x" * 1_000_000}).text == "1000000"
    assert outcomes(remotion_usage) == [True]


@INSTALLED
@pytest.mark.parametrize("report", [False, True])
def test_client_leaves_stream(report: bool, make_app: Any, remotion_usage) -> None:
    """
    A stream whose client leaves is aborted, and recorded as failed only when that is wanted.
    """
    exchange(make_app(report_aborted=report), path="/stream", leave_after=2, broken_send=True)

    assert outcomes(remotion_usage) == [False] * report


@INSTALLED
def test_background_error(make_app: Any, remotion_usage) -> None:
    """
    An error in a background task changes nothing.
    """
    done = exchange(make_app(), path="/background")

    assert (done.body, outcomes(remotion_usage)) == (b"done", [True])
    assert done.error is not None


@INSTALLED
def test_cached_response(make_app: Any, remotion_usage) -> None:
    """
    An answer from Litestar's cache is no conversion.
    """
    app = make_app()
    answers = [request(app, "GET", "/cached").text for _ in range(2)]

    assert (answers, outcomes(remotion_usage)) == (["done", "done"], [True])


@INSTALLED
def test_websocket(make_app: Any, remotion_usage) -> None:
    """
    A websocket passes.
    """
    with TestClient(make_app()) as client, client.websocket_connect("/socket") as connection:
        assert connection.receive_text() == "done"

    assert outcomes(remotion_usage) == []


def test_decorator_above_the_route() -> None:
    """
    Litestar refuses a handler whose decorator is above the route's.
    """
    misplaced = usage_point("cloud-render")(post("/misplaced")(undecorated.fn))

    with pytest.raises(ImproperlyConfiguredException, match="Unsupported value"):
        Litestar([misplaced], logging_config=None)


def test_lifespan() -> None:
    """
    The recorder lives longer than the app: it starts with the server, and stops after the app's own hooks.
    """
    recorder = NotingRecorder()
    hooks = {
        "on_startup": [lambda: recorder.happened.append("app starts")],
        "on_shutdown": [lambda: recorder.happened.append("app stops")],
    }
    with TestClient(UsageMiddleware(make_litestar(**hooks), recorder=recorder)):
        pass

    assert recorder.happened == ["app starts", "recorder starts", "app stops", "recorder stops"]


def test_lifespan_within() -> None:
    """
    A middleware inside the app leaves its recorder's life to the app's hooks, and is made for each route.
    """
    recorder, made = NotingRecorder(), []

    class CountedMiddleware(UsageMiddleware):
        def __init__(self, app: Any, **options: Any) -> None:
            made.append(app)
            super().__init__(app, **options)

    app = make_litestar(
        middleware=[DefineMiddleware(CountedMiddleware, recorder=recorder)],
        on_startup=[recorder.start],
        on_shutdown=[lambda: recorder.stop()],  # noqa: PLW0108 - Litestar passes the app where it finds a parameter
    )
    with TestClient(app):
        pass

    assert recorder.happened == ["recorder starts", "recorder stops"]
    assert len(made) > len(HANDLERS)

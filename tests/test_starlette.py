"""
The middleware and the decorator in real Starlette apps, partly behind a real uvicorn.
"""

# ruff: noqa: D102, FBT001 - endpoints of tests explain themselves, and pytest passes parameters by name

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.testclient import TestClient

from remotion_licensing_integrations import Settings, UsageRecorder
from remotion_licensing_integrations.starlette import UsageMiddleware, usage_point

from ._asgi import ORIGIN, QUIET, exchange, read_until, request, serving
from ._starlette import BASE_HTTP, starlette_app

METHODS = ["GET", "POST"]
ENDLESS = b"x" * 65536
#: Where a middleware of Starlette's base class may stand.
PLACES = [{}, {"inside": [BASE_HTTP]}, {"outside": [BASE_HTTP]}, {"inside": [BASE_HTTP], "outside": [BASE_HTTP]}]


def outcomes(recorded: Any) -> list[bool]:
    return [point.succeeded for point in recorded.points]


def responding(status: int = 200, **options: Any) -> Any:
    @usage_point("cloud-render")
    async def convert(_: Any) -> PlainTextResponse:
        return PlainTextResponse("done", status, **options)

    return convert


def raising(error: Exception) -> Any:
    @usage_point("cloud-render")
    async def convert(_: Any) -> PlainTextResponse:
        raise error

    return convert


def streaming(*, error: Exception | None = None, endless: bool = False, **options: Any) -> Any:
    @usage_point("cloud-render")
    async def convert(_: Any) -> StreamingResponse:
        async def body() -> Any:
            yield b"start"
            while endless:
                yield ENDLESS
                await asyncio.sleep(0)
            if error is not None:
                raise error

        return StreamingResponse(body(), **options)

    return convert


def app_of(endpoint: Any, **options: Any) -> Starlette:
    return starlette_app(Route("/convert", endpoint, methods=METHODS), **options)


def plain_sync(_: Any) -> PlainTextResponse:
    return PlainTextResponse("done")


async def plain_async(_: Any) -> PlainTextResponse:
    return PlainTextResponse("done")


class SyncCallable:
    @usage_point("cloud-render")
    def __call__(self, _: Any) -> PlainTextResponse:
        return PlainTextResponse("done")


class AsyncCallable:
    @usage_point("cloud-render")
    async def __call__(self, _: Any) -> PlainTextResponse:
        return PlainTextResponse("done")


class UndecoratedCallable:
    async def __call__(self, _: Any) -> PlainTextResponse:
        return PlainTextResponse("done")


class Methods(HTTPEndpoint):
    @usage_point("cloud-render")
    async def post(self, _: Any) -> PlainTextResponse:
        return PlainTextResponse("done")

    def get(self, _: Any) -> PlainTextResponse:
        return PlainTextResponse("form")


class SyncMethods(HTTPEndpoint):
    @usage_point("cloud-render")
    def post(self, _: Any) -> PlainTextResponse:
        return PlainTextResponse("done")


decorate = usage_point("cloud-render")
DONE = decorate(plain_async)
ROUTES = {
    "sync": Route("/convert", decorate(plain_sync), methods=METHODS),
    "async": Route("/convert", DONE, methods=METHODS),
    "partial of decorated": Route("/convert", functools.partial(DONE), methods=METHODS),
    "decorated partial": Route("/convert", decorate(functools.partial(plain_async)), methods=METHODS),
    "decorated sync partial": Route("/convert", decorate(functools.partial(plain_sync)), methods=METHODS),
    "sync bound method": Route("/convert", SyncCallable().__call__, methods=METHODS),
    "async bound method": Route("/convert", AsyncCallable().__call__, methods=METHODS),
    "decorated instance": Route("/convert", decorate(UndecoratedCallable()), methods=METHODS),
    "HTTPEndpoint": Route("/convert", Methods),
    "sync HTTPEndpoint": Route("/convert", SyncMethods),
    "Mount": Mount("/convert", routes=[Route("/", DONE, methods=METHODS)]),
    "mounted app": Mount("/convert", Starlette(routes=[Route("/", DONE, methods=METHODS)])),
    "mounted router": Mount("/convert", Router([Route("/", DONE, methods=METHODS)])),
    "Host": Host("app.test", Router([Route("/convert", DONE, methods=METHODS)])),
    "mounted app with its own": Mount("/convert", starlette_app(Route("/", DONE, methods=METHODS))),
    "Mount with its own": Mount(
        "/convert", routes=[Route("/", DONE, methods=METHODS)], middleware=[Middleware(UsageMiddleware, **QUIET)]
    ),
}


@pytest.mark.parametrize("name", ROUTES)
def test_route(name: str, remotion_usage) -> None:
    """
    A request to a decorated endpoint of any kind, at any depth, counts once.
    """
    path = "/convert/" if "Mount" in name or "mounted" in name else "/convert"
    response = request(starlette_app(ROUTES[name]), "POST", path)

    assert (response.status_code, response.text) == (200, "done")
    assert outcomes(remotion_usage) == [True]


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("function", [plain_sync, plain_async])
def test_base_http_middleware(function: Any, places: Any, remotion_usage) -> None:
    """
    A middleware of Starlette's base class inside or outside changes nothing.
    """
    exchange(app_of(decorate(function), **places))

    assert outcomes(remotion_usage) == [True]


class CopyScope:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(dict(scope), receive, send)


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_scope_copied(place: str, remotion_usage) -> None:
    """
    A middleware that copies the scope does not hide the endpoint.
    """
    exchange(app_of(DONE, **{place: [Middleware(CopyScope)]}))

    assert outcomes(remotion_usage) == [True]


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_gzip(place: str, remotion_usage) -> None:
    """
    A compressed response counts like any other.
    """
    app = app_of(streaming(), **{place: [Middleware(GZipMiddleware, minimum_size=1)]})
    response = request(app, "POST", "/convert")

    assert response.headers["content-encoding"] == "gzip"
    assert outcomes(remotion_usage) == [True]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nowhere", 404),
        ("DELETE", "/convert", 405),
        ("OPTIONS", "/convert", 405),
        ("HEAD", "/convert", 200),
        ("POST", "/convert/", 307),
    ],
)
def test_not_counted(method: str, path: str, status: int, remotion_usage) -> None:
    """
    404, 405, OPTIONS, HEAD and the slash redirect give no point.
    """
    response = request(app_of(DONE), method, path)

    assert (status, []) == (response.status_code, outcomes(remotion_usage))


def test_head_failure(remotion_usage) -> None:
    """
    A HEAD request whose endpoint raises gives no point either.
    """
    exchange(app_of(raising(ValueError())), "HEAD")

    assert outcomes(remotion_usage) == []


def test_undecorated_method(remotion_usage) -> None:
    """
    A method of a class that is not decorated gives no point.
    """
    request(starlette_app(ROUTES["HTTPEndpoint"]), "GET", "/convert")

    assert outcomes(remotion_usage) == []


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_preflight(place: str, remotion_usage) -> None:
    """
    A CORS preflight gives no point, on whichever side the CORS middleware stands.
    """
    app = app_of(DONE, **{place: [Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"])]})
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}

    assert request(app, "OPTIONS", "/convert", headers=headers).status_code == 200
    assert outcomes(remotion_usage) == []


@pytest.mark.parametrize(("range_", "status"), [("bytes=0-1", 206), ("bytes=0-1,3-4", 206), ("bytes=0-", 206)])
def test_ranges(range_: str, status: int, remotion_usage, tmp_path) -> None:
    """
    A player that fetches ranges of a file gives no point.
    """
    (tmp_path / "video.mp4").write_bytes(b"0123456789")
    app = app_of(decorate(lambda _: FileResponse("video.mp4")))
    response = request(app, "GET", "/convert", headers={"Range": range_})

    assert (status, []) == (response.status_code, outcomes(remotion_usage))


def test_file(remotion_usage, tmp_path) -> None:
    """
    A file sent whole counts.
    """
    (tmp_path / "video.mp4").write_bytes(b"0123456789")
    request(app_of(decorate(lambda _: FileResponse("video.mp4"))), "GET", "/convert")

    assert outcomes(remotion_usage) == [True]


@pytest.mark.parametrize("places", PLACES)
def test_pathsend(places: Any, remotion_usage, tmp_path) -> None:
    """
    A file that the server sends by its path counts, although no body message is sent.
    """
    (tmp_path / "video.mp4").write_bytes(b"0123456789")
    app = app_of(decorate(lambda _: FileResponse("video.mp4")), **places)
    done = exchange(app, extensions={"http.response.pathsend": {}})

    assert [message["type"] for message in done.messages] == ["http.response.start", "http.response.pathsend"]
    assert outcomes(remotion_usage) == [True]


@pytest.mark.parametrize(
    ("status", "expected"), [(200, [True]), (201, [True]), (204, [True]), (303, [True]), (304, []), (409, [False])]
)
def test_status(status: int, expected: list[bool], remotion_usage) -> None:
    """
    The status decides, and 304 gives no point.
    """
    exchange(app_of(responding(status)))

    assert expected == outcomes(remotion_usage)


@pytest.mark.parametrize("places", PLACES)
def test_unhandled_error(places: Any, remotion_usage) -> None:
    """
    An unhandled exception counts as failed once, and the client gets its 500.
    """
    done = exchange(app_of(raising(ValueError()), **places))

    assert (500, ValueError) == (done.status, type(done.error))
    assert outcomes(remotion_usage) == [False]


def test_unhandled_error_from_outside(remotion_usage) -> None:
    """
    Wrapped around the whole app the middleware counts an unhandled exception once, too.
    """
    app = Starlette(routes=[Route("/convert", raising(ValueError()), methods=METHODS)])
    exchange(UsageMiddleware(app, **QUIET))

    assert outcomes(remotion_usage) == [False]


@pytest.mark.parametrize(("error", "expected"), [(HTTPException(409), [False]), (HTTPException(303), [True])])
def test_http_exception(error: Exception, expected: list[bool], remotion_usage) -> None:
    """
    An exception that a handler turns into a response counts by that response.
    """
    done = exchange(app_of(raising(error)))

    assert done.error is None
    assert expected == outcomes(remotion_usage)


def test_registered_handler(remotion_usage) -> None:
    """
    So does an exception with a handler of the app's own.
    """

    async def handle(*_: Any) -> PlainTextResponse:
        return PlainTextResponse("from the cache")

    exchange(app_of(raising(KeyError()), exception_handlers={KeyError: handle}))

    assert outcomes(remotion_usage) == [True]


@pytest.mark.parametrize("spec", ["2.0", "2.3", "2.4"])
@pytest.mark.parametrize("places", PLACES)
def test_broken_stream(places: Any, spec: str, remotion_usage) -> None:
    """
    A stream that raises midway counts as failed, although its status was 200.
    """
    done = exchange(app_of(streaming(error=ValueError()), **places), asgi={"version": "3.0", "spec_version": spec})

    assert (200, b"start", ValueError) == (done.status, done.body, type(done.error))
    assert outcomes(remotion_usage) == [False]


@pytest.mark.parametrize("report", [False, True])
@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize(("spec", "broken_send"), [("2.3", False), ("2.4", True)])
def test_client_leaves_stream(spec: str, broken_send: bool, places: Any, report: bool, remotion_usage) -> None:
    """
    A stream whose client leaves counts as failed with `report_aborted`, else not at all.
    """
    app = app_of(streaming(endless=True), **places, report_aborted=report)
    exchange(app, leave_after=3, broken_send=broken_send, asgi={"version": "3.0", "spec_version": spec})

    assert [False] * report == outcomes(remotion_usage)


def test_client_leaves_upload(remotion_usage) -> None:
    """
    A client that leaves during its upload makes the request aborted, not failed.
    """

    @usage_point("cloud-render")
    async def convert(http_request: Any) -> PlainTextResponse:
        return PlainTextResponse(await http_request.body())

    exchange(app_of(convert), body=[], leave_after=0)

    assert outcomes(remotion_usage) == []


@pytest.mark.parametrize("response", [responding, streaming])
@pytest.mark.parametrize("places", PLACES)
def test_background_error(places: Any, response: Any, remotion_usage) -> None:
    """
    An error in a background task after the last byte changes nothing.
    """

    def fail() -> None:
        raise ValueError

    done = exchange(app_of(response(background=BackgroundTask(fail)), **places))

    assert isinstance(done.error, ValueError)
    assert outcomes(remotion_usage) == [True]


def test_websocket(remotion_usage) -> None:
    """
    WebSockets work as without the middleware.
    """

    async def talk(websocket: Any) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    client = TestClient(starlette_app(WebSocketRoute("/talk", talk)))
    with client.websocket_connect("/talk") as session:
        session.send_text("hello")

        assert session.receive_text() == "hello"


def test_real_client_leaves_stream(remotion_usage) -> None:
    """
    A client that really leaves a uvicorn in the middle of a stream makes the request aborted.
    """
    with serving(app_of(streaming(endless=True), report_aborted=True)) as server:
        with server.client() as connection:
            read_until(connection, ENDLESS[:10])
        server.wait()

    assert outcomes(remotion_usage) == [False]


@pytest.mark.parametrize("places", PLACES)
def test_real_complete_stream(places: Any, remotion_usage) -> None:
    """
    A stream that was read to its end is a success, whatever uvicorn says about the client then.
    """
    with serving(app_of(streaming(), **places, report_aborted=True)) as server:
        with server.client() as connection:
            read_until(connection, b"\r\n0\r\n\r\n")
        server.wait()

    assert outcomes(remotion_usage) == [True]


def test_real_inline_stream() -> None:
    """
    With `delivery="inline"` a request ends after its delivery, although uvicorn calls the client gone by then.
    """
    overtaken: list[bool] = []

    class Recorder(UsageRecorder):
        def deliver(self, timeout: float | None = None) -> int:
            overtaken.append(server.finished.wait(0.2))
            return 1

    recorder = Recorder(Settings(**{**QUIET, "delivery": "inline"}))
    with serving(app_of(streaming(), recorder=recorder)) as server, server.client() as connection:
        read_until(connection, b"\r\n0\r\n\r\n")
        server.wait()

    assert overtaken == [False]

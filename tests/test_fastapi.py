"""
The middleware and the decorator in real FastAPI apps.
"""

# ruff: noqa: D102, FBT001 - endpoints of tests explain themselves, and pytest passes parameters by name

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Annotated, Any

import fastapi
import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    UploadFile,
)
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel

from remotion_licensing_integrations.fastapi import UsageMiddleware, current_usage, usage_point

from ._asgi import ORIGIN, QUIET, exchange, read_until, request, serving
from ._starlette import BASE_HTTP

try:
    from fastapi.sse import EventSourceResponse
except ModuleNotFoundError:  # before FastAPI 0.135
    EventSourceResponse = None

AWAITS_INSTANCES = tuple(map(int, fastapi.__version__.split(".")[:3])) >= (0, 123, 5)
NEEDS_INSTANCES = pytest.mark.skipif(not AWAITS_INSTANCES, reason="FastAPI does not await an instance before 0.123.5")
decorate = usage_point("cloud-render")
PLACES = ["", "inside", "outside"]


def same(function: Any) -> Any:
    return function


def make_app(*, base_http: str = "", **settings: Any) -> FastAPI:
    """
    Return an app with our middleware, and if wanted one of Starlette's base class inside or outside.
    """
    app = FastAPI()
    if base_http == "inside":
        app.middleware("http")(BASE_HTTP.kwargs["dispatch"])
    app.add_middleware(UsageMiddleware, **{**QUIET, **settings})
    if base_http == "outside":
        app.middleware("http")(BASE_HTTP.kwargs["dispatch"])
    return app


def outcomes(recorded: Any) -> list[bool]:
    return [point.succeeded for point in recorded.points]


class Job(BaseModel):
    url: str
    width: int = 1280


def quality(level: int = 3) -> int:
    return level


def refuse(status: int) -> Any:
    def dependency() -> None:
        raise HTTPException(status)

    return dependency


class Converter:
    async def __call__(self, size: int = 1) -> dict[str, int]:
        return {"size": size}


class DecoratedConverter:
    @decorate
    async def __call__(self, size: int = 1) -> dict[str, int]:
        return {"size": size}

    @decorate
    def method(self, size: int = 1) -> dict[str, int]:
        return {"size": size}


def parameter_app(decorator: Any) -> FastAPI:
    """
    Return an app with an endpoint for each kind of parameter, all under *decorator*.
    """
    app = make_app()

    @app.post("/path/{name}/{number}")
    @decorator
    def by_path(name: str, number: Annotated[int, Path(ge=1)]) -> dict[str, Any]:
        """
        Convert by name.
        """
        return {"name": name, "number": number}

    @app.post("/query")
    @decorator
    async def by_query(size: int, tags: Annotated[list[str], Query()] = []) -> dict[str, Any]:  # noqa: B006 - FastAPI's way
        return {"size": size, "tags": tags}

    @app.post("/header")
    @decorator
    def by_header(x_token: Annotated[str, Header()], session: Annotated[str | None, Cookie()] = None) -> dict[str, Any]:
        return {"token": x_token, "session": session}

    @app.post("/body", status_code=201, tags=["conversion"])
    @decorator
    async def by_body(job: Job) -> Job:
        return job

    @app.post("/form")
    @decorator
    def by_form(title: Annotated[str, Form()]) -> dict[str, str]:
        return {"title": title}

    @app.post("/upload")
    @decorator
    def by_upload(file: UploadFile, note: Annotated[str, Form()] = "") -> dict[str, Any]:
        return {"size": len(file.file.read()), "note": note}

    @app.post("/bytes")
    @decorator
    async def by_bytes(file: Annotated[bytes, File()]) -> dict[str, Any]:
        return {"size": len(file)}

    @app.post("/depends")
    @decorator
    async def by_dependency(level: Annotated[int, Depends(quality)]) -> dict[str, int]:
        return {"level": level}

    @app.post("/tasks")
    @decorator
    async def by_tasks(tasks: BackgroundTasks, http_request: Request, response: Response) -> dict[str, str]:
        response.headers["x-path"] = http_request.url.path
        tasks.add_task(app.state.done.append, "task")
        return {}

    app.post("/partial")(decorator(functools.partial(quality, level=4)))
    app.post("/instance")(decorator(Converter()))
    app.state.done = []
    return app


CALLS: dict[str, dict[str, Any]] = {
    "/path/a/2": {},
    "/query?size=3&tags=a&tags=b": {},
    "/header": {"headers": {"X-Token": "t", "Cookie": "session=s"}},
    "/body": {"json": {"url": "https://myapp.com/a.mp4"}},
    "/form": {"data": {"title": "é"}},
    "/upload": {"files": {"file": ("a.mp4", b"x" * 3_000_000)}, "data": {"note": "n"}},
    "/bytes": {"files": {"file": ("a.mp4", b"xx")}},
    "/depends?level=5": {},
    "/tasks": {},
    "/partial": {},
}
INSTANCE = "/instance?size=2"


@pytest.mark.parametrize("path", [*CALLS, pytest.param(INSTANCE, marks=NEEDS_INSTANCES)])
def test_parameters(path: str, remotion_usage) -> None:
    """
    An endpoint answers the same with the decorator, whatever its parameters, and counts once.
    """
    plain = request(parameter_app(same), "POST", path, **CALLS.get(path, {}))
    decorated = request(parameter_app(decorate), "POST", path, **CALLS.get(path, {}))

    assert plain.status_code < 300
    assert (plain.status_code, plain.content) == (decorated.status_code, decorated.content)
    assert outcomes(remotion_usage) == [True]


def test_background_tasks(remotion_usage) -> None:
    """
    Tasks of a decorated endpoint run.
    """
    app = parameter_app(decorate)
    request(app, "POST", "/tasks")

    assert app.state.done == ["task"]


def test_openapi() -> None:
    """
    The OpenAPI document is the same with and without the decorator.
    """
    assert parameter_app(same).openapi() == parameter_app(decorate).openapi()


@pytest.mark.parametrize("path", ["/path/a/0", "/query", "/query?size=x", "/header", "/body", "/form", "/upload"])
def test_invalid_request(path: str, remotion_usage) -> None:
    """
    A request that fails validation gives no point.
    """
    assert request(parameter_app(decorate), "POST", path).status_code == 422
    assert outcomes(remotion_usage) == []


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET", "DELETE"])
def test_other_method(method: str, remotion_usage) -> None:
    """
    Methods that the route does not have give no point.
    """
    assert request(parameter_app(decorate), method, "/query?size=1").status_code == 405
    assert outcomes(remotion_usage) == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_dependency_refuses(status: int, remotion_usage) -> None:
    """
    A request that a dependency refuses, with whatever status, gives no point.
    """
    app = make_app()
    app.post("/convert", dependencies=[Depends(refuse(status))])(decorate(quality))

    assert status == request(app, "POST", "/convert").status_code
    assert outcomes(remotion_usage) == []


@pytest.mark.parametrize(
    "endpoint",
    [
        pytest.param(DecoratedConverter(), marks=NEEDS_INSTANCES),
        DecoratedConverter().__call__,
        DecoratedConverter().method,
    ],
)
def test_decorated_methods(endpoint: Any, remotion_usage) -> None:
    """
    Decorated methods count, `__call__` of an instance among them.
    """
    app = make_app()
    app.post("/convert")(endpoint)

    assert request(app, "POST", "/convert?size=2").json() == {"size": 2}
    assert outcomes(remotion_usage) == [True]


def test_included_routers(remotion_usage) -> None:
    """
    Endpoints of nested routers count.
    """
    inner, outer, app = APIRouter(prefix="/videos"), APIRouter(prefix="/v1"), make_app()
    inner.post("/{number}/convert")(decorate(quality))
    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    request(app, "POST", "/api/v1/videos/7/convert")

    assert outcomes(remotion_usage) == [True]


@pytest.mark.parametrize("own", [False, True])
def test_mounted_app(own: bool, remotion_usage) -> None:
    """
    Endpoints of a mounted app count once, with a middleware of its own or without.
    """
    mounted, app = make_app() if own else FastAPI(), make_app()
    mounted.post("/convert")(decorate(quality))
    app.mount("/sub", mounted)
    request(app, "POST", "/sub/convert")

    assert outcomes(remotion_usage) == [True]


async def endless() -> Any:
    while True:
        yield "x" * 65536
        await asyncio.sleep(0)


async def broken() -> Any:
    yield "a"
    raise ValueError


def sync_broken() -> Any:
    yield "a"
    raise ValueError


async def whole() -> Any:
    yield "a"
    yield "b"


def sync_whole() -> Any:
    yield "a"
    yield "b"


async def empty() -> Any:
    return
    yield


RESPONSES = [StreamingResponse, EventSourceResponse, None]
NEEDS_YIELD = pytest.mark.skipif(EventSourceResponse is None, reason="FastAPI has endpoints that yield from 0.135 on")


def stream_app(endpoint: Any, response_class: Any, **options: Any) -> FastAPI:
    app = make_app(**options)
    app.post("/convert", **({} if response_class is None else {"response_class": response_class}))(decorate(endpoint))
    return app


@NEEDS_YIELD
@pytest.mark.parametrize("base_http", PLACES)
@pytest.mark.parametrize("response_class", RESPONSES)
@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [(whole, True), (sync_whole, True), (empty, True), (broken, False), (sync_broken, False)],
)
def test_yield_endpoint(endpoint: Any, expected: bool, response_class: Any, base_http: str, remotion_usage) -> None:
    """
    An endpoint that yields counts once, as failed if it raises midway, in each of FastAPI's forms.
    """
    exchange(stream_app(endpoint, response_class, base_http=base_http))

    assert [expected] == outcomes(remotion_usage)


@NEEDS_YIELD
@pytest.mark.parametrize("report", [False, True])
@pytest.mark.parametrize("base_http", PLACES)
@pytest.mark.parametrize("response_class", RESPONSES)
def test_client_leaves_yield_endpoint(
    response_class: Any, base_http: str, report: bool, remotion_usage, request: pytest.FixtureRequest
) -> None:
    """
    An endpoint that yields counts as failed with `report_aborted` when the client leaves, else not at all.
    """
    if (response_class, base_http, report) == (EventSourceResponse, "outside", False):
        reason = "FastAPI raises an error of its own inside a BaseHTTPMiddleware, which looks like the endpoint's"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    app = stream_app(endless, response_class, base_http=base_http, report_aborted=report)
    exchange(app, leave_after=3)

    assert [False] * report == outcomes(remotion_usage)


def misplaced_app(endpoint: Any = quality, **options: Any) -> FastAPI:
    app = make_app()

    @decorate
    @app.post("/convert", **options)
    @functools.wraps(endpoint)
    def outermost(*args: Any, **kwargs: Any) -> Any:
        return endpoint(*args, **kwargs)

    return app


def test_wrong_order(remotion_usage) -> None:
    """
    An endpoint decorated above its route counts by its status.
    """
    request(misplaced_app(), "POST", "/convert")

    assert [(point.event, point.succeeded) for point in remotion_usage.points] == [("cloud-render", True)]


def test_wrong_order_is_warned_once(remotion_usage, caplog) -> None:
    """
    The wrong order is warned of once, with the endpoint's name and what to do.
    """
    app = misplaced_app()
    for _ in range(2):
        request(app, "POST", "/convert")

    (record,) = [record for record in caplog.records if record.name.startswith("remotion")]
    assert record.action == "decorator_misplaced"
    assert "quality" in record.message
    assert "below the route decorator" in record.message


@pytest.mark.parametrize("status", [401, 403, 404, 422, 429])
def test_wrong_order_refused(status: int, remotion_usage) -> None:
    """
    In the wrong order statuses given in front of endpoints do not count.
    """
    request(misplaced_app(dependencies=[Depends(refuse(status))]), "POST", "/convert")

    assert outcomes(remotion_usage) == []


@pytest.mark.parametrize("error", [HTTPException(409), ValueError()])
def test_wrong_order_failure(error: Exception, remotion_usage) -> None:
    """
    In the wrong order errors count as failures, handled or not.
    """

    def endpoint() -> None:
        raise error

    request(misplaced_app(endpoint), "POST", "/convert")

    assert outcomes(remotion_usage) == [False]


def test_invalid_result(remotion_usage) -> None:
    """
    A result that does not match the response model counts as failed: the client gets a 500.
    """
    app = make_app()
    app.post("/convert", response_model=Job)(decorate(quality))

    assert request(app, "POST", "/convert").status_code == 500
    assert outcomes(remotion_usage) == [False]


@pytest.mark.parametrize("base_http", PLACES)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_adjustment(asynchronous: bool, base_http: str, remotion_usage) -> None:
    """
    What an endpoint adjusts reaches the point, also from a worker thread below `@app.middleware("http")`.
    """
    app = make_app(base_http=base_http)

    def convert() -> None:
        current_usage().is_still = True

    async def convert_async() -> None:
        convert()

    app.post("/convert")(decorate(convert_async if asynchronous else convert))
    request(app, "POST", "/convert")

    assert [point.is_still for point in remotion_usage.points] == [True]


def test_dependency_adjusts(remotion_usage) -> None:
    """
    A dependency can skip the request before its endpoint runs.
    """
    app = make_app()
    app.post("/convert", dependencies=[Depends(lambda: current_usage().skip())])(decorate(quality))
    request(app, "POST", "/convert")

    assert outcomes(remotion_usage) == []


def test_yield_dependency_after_the_end(remotion_usage) -> None:
    """
    A dependency that raises after the endpoint has answered decides the response, and so the outcome.
    """

    def dependency() -> Any:
        yield
        raise ValueError

    app = make_app()
    app.post("/convert", dependencies=[Depends(dependency)])(decorate(quality))
    response = request(app, "POST", "/convert")

    assert [response.status_code < 400] == outcomes(remotion_usage)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_real_client_leaves_before_the_answer(asynchronous: bool, remotion_usage) -> None:
    """
    An endpoint whose client has left uvicorn before the answer ends as usual, and counts: no server tells of it.
    """
    started, left = threading.Event(), threading.Event()

    def convert() -> PlainTextResponse:
        started.set()
        left.wait(5)
        return PlainTextResponse("done")

    async def convert_async() -> PlainTextResponse:
        return await asyncio.to_thread(convert)

    app = make_app()
    app.post("/convert")(decorate(convert_async if asynchronous else convert))
    with serving(app) as server:
        with server.client():
            assert started.wait(5)
        left.set()
        server.wait()

    assert outcomes(remotion_usage) == [True]


def test_real_upload(remotion_usage) -> None:
    """
    A form upload through uvicorn arrives whole, and counts with the page's origin.
    """
    app = parameter_app(decorate)
    data = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        + b"x" * 2_000_000
        + b"\r\n--b--\r\n"
    )
    headers = {
        "Content-Type": "multipart/form-data; boundary=b",
        "Content-Length": str(len(data)),
        "Origin": ORIGIN,
    }
    with serving(app) as server, server.client(path="/upload", headers=headers) as connection:
        connection.sendall(data)

        assert b'"size":2000000' in read_until(connection, b"}")
        server.wait()

    assert [point.host for point in remotion_usage.points] == [ORIGIN]

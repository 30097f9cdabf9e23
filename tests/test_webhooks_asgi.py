"""
The endpoint for webhooks in real Starlette and FastAPI apps, once behind a real uvicorn.
"""

# ruff: noqa: D102, FBT001 - what tests define explains itself, fixtures are imported and given by name

from __future__ import annotations

import functools
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from remotion_licensing_integrations import Settings, UsageRecorder, set_default_recorder
from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.fastapi import remotion_webhook as fastapi_webhook
from remotion_licensing_integrations.outbox import SQLiteOutbox, State
from remotion_licensing_integrations.starlette import UsageMiddleware, current_usage, remotion_webhook, usage_point

from ._asgi import KEY, ORIGIN, PATIENCE, QUIET, exchange, request, serving
from ._starlette import BASE_HTTP
from ._webhooks import PATH, SECRET, SIGNED, golden, payload, signed, with_token

App = Any
Build = Callable[..., App]


RECORDER = UsageRecorder(Settings(**QUIET))


def starlette(*middleware: Middleware, secret: str = SECRET, recorder: Any = RECORDER, **options: Any) -> App:
    route = Route(PATH, remotion_webhook(secret, recorder=recorder, **options), methods=["POST"])
    return Starlette(routes=[route], middleware=middleware)


def fastapi(*middleware: Middleware, secret: str = SECRET, recorder: Any = RECORDER, **options: Any) -> App:
    app = FastAPI(middleware=middleware)
    app.post(PATH)(fastapi_webhook(secret, recorder=recorder, **options))
    return app


def fastapi_route(*middleware: Middleware, secret: str = SECRET, recorder: Any = RECORDER, **options: Any) -> App:
    app, router = FastAPI(middleware=middleware), APIRouter(prefix="/webhooks")
    webhook = fastapi_webhook(secret, recorder=recorder, **options)
    router.add_api_route("/remotion", webhook, methods=["POST"])
    app.include_router(router)
    return app


APPS = pytest.mark.parametrize("build", [starlette, fastapi, fastapi_route])


def post(app: App, content: Any, **more: Any) -> Any:
    body, headers = signed(content, **more)
    return request(app, "POST", PATH, content=body, headers=headers)


@APPS
@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case["name"])
def test_golden(build: Build, case: dict[str, Any], remotion_usage) -> None:
    """
    What Remotion's own sender puts on the wire is recorded.
    """
    body, headers = golden(case)
    response = request(build(secret=case["secret"]), "POST", PATH, content=body, headers=headers)

    assert (response.status_code, response.json()) == (200, {"success": True})
    assert [point.succeeded for point in remotion_usage.points] == [headers["X-Remotion-Status"] == "success"]


@APPS
def test_wrong_signature(build: Build, remotion_usage) -> None:
    """
    A wrong signature is refused, and nothing recorded.
    """
    response = post(build(secret="another secret"), payload())

    assert (response.status_code, response.json()) == (401, {"success": False, "error": "its signature is wrong"})
    assert remotion_usage.points == []


@APPS
def test_no_signature(build: Build, remotion_usage) -> None:
    """
    A request without the header is refused, and nothing recorded.
    """
    response = request(build(), "POST", PATH, json=payload())

    assert (response.status_code, remotion_usage.points) == (401, [])


@APPS
@pytest.mark.parametrize("content", [b"not JSON", [1], {"type": "success"}])
def test_malformed(build: Build, content: Any, remotion_usage) -> None:
    """
    A signed body that is no webhook is a bad request, and nothing recorded.
    """
    assert post(build(), content).status_code == 400
    assert remotion_usage.points == []


@APPS
def test_demo(build: Build, remotion_usage) -> None:
    """
    A demo is answered as the test tool expects, and neither recorded nor given to the app.
    """
    response = post(build(on_webhook=lambda _: 1 / 0), payload(), mode="demo")

    assert (response.status_code, response.json()) == (200, {"success": True})
    assert remotion_usage.points == []


@APPS
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
def test_method(build: Build, method: str) -> None:
    """
    Other methods are refused by the framework.
    """
    assert request(build(), method, PATH).status_code == 405


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_method_of_an_open_route(method: str, remotion_usage) -> None:
    """
    A route for all methods still takes webhooks by POST only.
    """
    app = Starlette(routes=[Route(PATH, remotion_webhook(SECRET), methods=["POST", "GET", "PUT", "OPTIONS"])])
    body, headers = signed(payload())
    response = request(app, method, PATH, content=body, headers=headers)

    assert (response.status_code, response.headers["allow"], remotion_usage.points) == (405, "POST", [])


class Chunks(list[bytes]):
    """
    Chunks of a body that count how many of them are read.
    """

    read = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in super().__iter__():
            self.read += 1
            yield chunk


@APPS
def test_long_body(build: Build, remotion_usage) -> None:
    """
    A body over the limit is refused, and read no further.
    """
    body = Chunks([b"x" * 40] * 100)
    answer = exchange(build(max_body=100), path=PATH, body=body)

    assert (answer.status, body.read, remotion_usage.points) == (413, 3, [])


@APPS
def test_chunked_body(build: Build, remotion_usage) -> None:
    """
    A body that comes in pieces is put together.
    """
    body, headers = signed(payload())
    pieces = [bytes([byte]) for byte in body]

    assert exchange(build(max_body=len(body)), path=PATH, body=pieces, headers=headers).status == 200
    assert len(remotion_usage.points) == 1


def test_client_that_leaves(caplog) -> None:
    """
    A client that leaves before its body is complete breaks nothing.
    """
    gone = exchange(starlette(), path=PATH, body=(), leave_after=0)

    assert (gone.error, caplog.records) == (None, [])


@APPS
@pytest.mark.parametrize("inside", [[], [BASE_HTTP]], ids=["", "base"])
def test_middleware(build: Build, inside: list[Middleware], make_recorder) -> None:
    """
    The middleware's recorder is used, and the request itself is not counted.
    """
    recorder, other = make_recorder(), make_recorder()
    set_default_recorder(other)
    post(build(Middleware(UsageMiddleware, recorder=recorder), *inside, recorder=None), payload())

    assert [row.point.idempotency_key for row in recorder.outbox.list()] == ["remotion-lambda-abcdefghij"]


@APPS
def test_refusing_store(build: Build, make_recorder, slow_outbox) -> None:
    """
    While the store refuses, the webhook shall come again; the app still learns of its render.
    """
    slow_outbox.refuses = True
    seen: list[dict[str, Any]] = []
    response = post(build(recorder=make_recorder(), on_webhook=seen.append), payload())

    assert (response.status_code, seen) == (503, [payload()])


class Work:
    """
    The app's own work in all the forms in which it can be given.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, Any], bool]] = []

    def plain(self, payload: dict[str, Any]) -> None:
        self.seen.append((payload, threading.current_thread() is threading.main_thread()))

    async def asynchronous(self, payload: dict[str, Any]) -> None:
        self.plain(payload)

    async def __call__(self, payload: dict[str, Any]) -> None:
        self.plain(payload)


FORMS: dict[str, tuple[Callable[[Work], Any], bool]] = {
    "function": (lambda work: work.plain, False),
    "coroutine function": (lambda work: work.asynchronous, True),
    "partial": (lambda work: functools.partial(work.plain), False),
    "partial coroutine function": (lambda work: functools.partial(work.asynchronous), True),
    "instance": (lambda work: work, True),
}


@APPS
@pytest.mark.parametrize("form", FORMS)
def test_on_webhook(build: Build, form: str, remotion_usage) -> None:
    """
    The app's own work gets the payload: in a thread, unless it is asynchronous.
    """
    work = Work()
    take, in_loop = FORMS[form]

    assert post(build(on_webhook=take(work)), payload()).status_code == 200
    assert work.seen == [(payload(), in_loop)]


@APPS
@pytest.mark.parametrize("asynchronous", [False, True])
def test_failing_work(build: Build, asynchronous: bool, remotion_usage) -> None:
    """
    When the app's own work fails the app answers 500, and the repeat counts once.
    """
    calls = []

    def fail_once(_: Any) -> None:
        calls.append(len(remotion_usage.points))
        if len(calls) == 1:
            raise RuntimeError

    async def fail_once_async(_: Any) -> None:
        fail_once(_)

    app = build(on_webhook=fail_once_async if asynchronous else fail_once)

    assert [post(app, with_token()).status_code for _ in range(2)] == [500, 200]
    assert calls == [1, 1]
    assert len(remotion_usage.points) == 1


@pytest.mark.parametrize("content", [payload("progress"), b"not JSON"])
def test_no_work(content: Any) -> None:
    """
    What says of no render how it ended is not given to the app.
    """
    assert post(starlette(on_webhook=lambda _: 1 / 0), content).status_code in {200, 400}


@APPS
def test_deferred_by_a_request(build: Build, make_recorder) -> None:
    """
    A point that a request defers waits in the outbox until the webhook brings its outcome.
    """
    recorder = make_recorder()
    app = build(Middleware(UsageMiddleware, recorder=recorder), recorder=None)
    tokens: list[str] = []

    @usage_point("web-render")
    async def start(_: Any) -> Any:
        tokens.append(current_usage().defer())
        return PlainTextResponse("started")

    app.router.routes.append(Route("/start", start, methods=["POST"]))
    request(app, "POST", "/start", headers={"Origin": ORIGIN})
    [before] = recorder.outbox.list()
    post(app, with_token("success", tokens[0]))
    [after] = recorder.outbox.list()

    assert (before.state, after.state, after.point.succeeded) == (State.DEFERRED, State.PENDING, True)
    assert (after.point.event, after.point.host) == ("web-render", ORIGIN)


@APPS
def test_inline(build: Build, make_recorder, monkeypatch) -> None:
    """
    With delivery "inline" what is due is delivered once the answer has gone out.
    """
    recorder = make_recorder(delivery="inline")
    events: list[str] = []
    monkeypatch.setattr(recorder, "deliver", lambda _: events.append("delivered"))
    app = build(recorder=recorder)

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def watch(message: Any) -> None:
            events.append(message["type"])
            await send(message)

        await app(scope, receive, watch)

    body, headers = signed(payload())
    exchange(watched, path=PATH, body=[body], headers=headers)

    assert events == ["http.response.start", "http.response.body", "delivered"]


STRICT = starlette()


@given(st.binary(), st.none() | st.binary(), st.none() | st.binary())
def test_any_request(body: bytes, signature: bytes | None, mode: bytes | None) -> None:
    """
    Whatever strangers send is answered, and nothing of it recorded.
    """
    headers = {b"x-remotion-signature": signature, b"x-remotion-mode": mode}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["headers"] = [(name, value) for name, value in headers.items() if value is not None]
        await STRICT(scope, receive, send)

    answer = exchange(app, path=PATH, body=[body])

    assert (answer.status, answer.error, RECORDER.outbox.counts().pending) == (401, None, 0)


def test_openapi() -> None:
    """
    FastAPI describes the endpoint, without parameters or a body.
    """
    [described] = fastapi().openapi()["paths"][PATH].values()

    assert described["description"] == "Take a webhook of Remotion Lambda."
    assert {"parameters", "requestBody"}.isdisjoint(described)


def test_unusable_secret() -> None:
    """
    Without a secret the app does not start.
    """
    with pytest.raises(ConfigurationError, match="REMOTION_WEBHOOK_SECRET"):
        remotion_webhook()


def test_test_client(remotion_usage) -> None:
    """
    An app's own test can post a webhook with Starlette's client.
    """
    body, headers = signed(with_token())
    with TestClient(fastapi()) as client:
        assert client.post(PATH, content=body, headers=headers).json() == {"success": True}

    assert [point.idempotency_key for point in remotion_usage.points] == ["deferred-1"]


@pytest.mark.parametrize("chunked", [False, True])
def test_real_server(chunked: bool, tmp_path) -> None:
    """
    Behind a real server a webhook's point is in the file of the outbox when the answer comes.
    """
    file = tmp_path / "usage.sqlite3"
    ours = Middleware(UsageMiddleware, license_key=KEY, outbox=f"sqlite:///{file}", delivery="off")
    app = fastapi(ours, recorder=None)
    body, headers = signed(with_token("error"))
    with serving(app) as server, closing(http.client.HTTPConnection("127.0.0.1", server.port, PATIENCE)) as client:
        pieces = iter([body[:10], body[10:]])
        client.request("POST", PATH, pieces if chunked else body, headers, encode_chunked=chunked)
        response = client.getresponse()
        answer = (response.status, json.loads(response.read()))
        with closing(SQLiteOutbox(file)) as outbox:
            [row] = outbox.list()

    assert answer == (200, {"success": True})
    assert (row.point.idempotency_key, row.point.succeeded, row.state) == ("deferred-1", False, State.PENDING)

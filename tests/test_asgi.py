"""
The middleware as an ASGI server and an ASGI app see it, with no framework in between.
"""

# ruff: noqa: D102, FBT001 - endpoints of tests explain themselves, and pytest passes parameters by name

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from remotion_licensing_integrations import OutboxError, Settings, UsageRecorder
from remotion_licensing_integrations.asgi import UsageMiddleware
from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.points.logline import read_point
from remotion_licensing_integrations.usage import current_usage, usage_point

from ._asgi import KEY, ORIGIN, PATIENCE, QUIET, App, aexchange, exchange, http_scope

START = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"done"}


def answering(*messages: dict[str, Any], error: BaseException | None = None) -> App:
    """
    Return an app with a decorated endpoint that sends *messages*, then raises *error*.
    """

    @usage_point("cloud-render")
    def enter() -> None: ...

    async def app(scope: Any, receive: Any, send: Any) -> None:
        enter()
        for message in messages or (START, LAST):
            await send(message)
        if error is not None:
            raise error

    return app


def outcomes(recorded: Any) -> list[bool]:
    return [point.succeeded for point in recorded.points]


def body(data: bytes, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **more}


def start(status: int = 200, **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}


ENDINGS = {
    "whole": ([START, LAST], None, [True]),
    "more_body false": ([START, body(b"a", more_body=True), body(b"", more_body=False)], None, [True]),
    "pathsend": ([START, {"type": "http.response.pathsend", "path": "/tmp/video.mp4"}], None, [True]),
    "trailers": ([START, LAST, {"type": "http.response.trailers", "headers": []}], None, [True]),
    "debug first": ([{"type": "http.response.debug", "info": {}}, START, LAST], None, [True]),
    "204": ([start(204), body(b"")], None, [True]),
    "empty": ([start(content_length="0"), body(b"")], None, [True]),
    "server error": ([start(500), LAST], None, [False]),
    "error before the start": ([{"type": "http.response.debug", "info": {}}], ValueError(), [False]),
    "error in the middle": ([START, body(b"a", more_body=True)], ValueError(), [False]),
    "error in the middle of a 500": ([start(500), body(b"a", more_body=True)], ValueError(), [False]),
    "error after the end": ([START, LAST], ValueError(), [True]),
    "error after a 500 from within": ([start(500), LAST], ValueError(), [False]),
    "file not found in the middle": ([START, body(b"a", more_body=True)], FileNotFoundError(), [False]),
    "cancelled": ([START, body(b"a", more_body=True)], asyncio.CancelledError(), []),
    "no end": ([START, body(b"a", more_body=True)], None, []),
    "no start": ([{"type": "http.response.debug", "info": {}}], None, []),
    "length reached": ([start(content_length="1"), body(b"a", more_body=True)], None, [True]),
    "length reached, then error": ([start(content_length="1"), body(b"a", more_body=True)], ValueError(), [True]),
    "length not reached": ([start(content_length="2"), body(b"a", more_body=True)], ValueError(), [False]),
    "length unreadable": ([start(content_length="x"), body(b"a", more_body=True)], ValueError(), [False]),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_ending(name: str, remotion_usage) -> None:
    """
    The outcome is settled once, at the response's last byte or where it broke off.
    """
    messages, error, expected = ENDINGS[name]
    exchange(UsageMiddleware(answering(*messages, error=error), **QUIET))

    assert expected == outcomes(remotion_usage)


@pytest.mark.parametrize("name", ENDINGS)
def test_error_goes_on(name: str, remotion_usage) -> None:
    """
    What the app raises leaves the middleware as it is.
    """
    messages, error, _ = ENDINGS[name]

    assert exchange(UsageMiddleware(answering(*messages, error=error), **QUIET)).error is error


@pytest.mark.parametrize("name", ENDINGS)
def test_messages_are_forwarded(name: str, remotion_usage) -> None:
    """
    The server gets the very messages that the app sent, in their order.
    """
    messages, error, _ = ENDINGS[name]
    done = exchange(UsageMiddleware(answering(*messages, error=error), **QUIET))

    assert list(map(id, messages)) == list(map(id, done.messages))


@pytest.mark.parametrize("name", ["cancelled", "no end", "no start"])
def test_report_aborted(name: str, remotion_usage) -> None:
    """
    With `report_aborted=True` a response without end is recorded as failed.
    """
    messages, error, _ = ENDINGS[name]
    exchange(UsageMiddleware(answering(*messages, error=error), **QUIET, report_aborted=True))

    assert outcomes(remotion_usage) == [False]


def test_broken_send(remotion_usage) -> None:
    """
    A server that raises when the client has gone, as of ASGI 2.4, makes the request aborted.
    """
    app = UsageMiddleware(answering(START, body(b"a", more_body=True), body(b"b", more_body=True)), **QUIET)
    done = exchange(app, leave_after=2, broken_send=True)

    assert isinstance(done.error, ConnectionResetError)
    assert outcomes(remotion_usage) == []


def test_committed_before_the_end() -> None:
    """
    The point is in the outbox when the server gets the last message.
    """
    outbox, stored = MemoryOutbox(), []
    recorder = UsageRecorder(Settings(**QUIET), outbox=outbox)

    async def send(message: Any) -> None:
        stored.append(outbox.counts().pending)

    asyncio.run(UsageMiddleware(answering(), recorder=recorder)(http_scope(), None, send))
    recorder.stop()

    assert stored == [0, 1]


def test_receive_is_untouched(remotion_usage) -> None:
    """
    The app gets the server's own receive, so the body of a request is nobody's but the app's.
    """
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(receive)

    async def receive() -> Any:
        raise AssertionError

    asyncio.run(UsageMiddleware(app, **QUIET)(http_scope(), receive, None))

    assert [receive] == seen


def test_large_upload(remotion_usage) -> None:
    """
    50 MB of upload pass through chunk by chunk, each as the server gave it.
    """
    chunk, sizes = b"x" * 1_000_000, []

    @usage_point("cloud-render")
    def enter() -> None: ...

    async def app(scope: Any, receive: Any, send: Any) -> None:
        enter()
        more = True
        while more:
            message = await receive()
            assert message["body"] is chunk
            sizes.append(len(chunk))
            more = message["more_body"]
        await send(START)
        await send(LAST)

    exchange(UsageMiddleware(app, **QUIET), body=[chunk] * 50)

    assert sum(sizes) == 50_000_000
    assert outcomes(remotion_usage) == [True]


@pytest.mark.parametrize("missing", ["asgi", "state", "root_path", "scheme", "server", "client"])
def test_bare_scope(missing: str, remotion_usage) -> None:
    """
    A scope without what some servers leave out is served all the same.
    """
    scope = http_scope(state={}, root_path="", scheme="http", server=("app.test", 80), client=("127.0.0.1", 1))
    del scope[missing]
    messages = []

    async def send(message: Any) -> None:
        messages.append(message)

    asyncio.run(UsageMiddleware(answering(), **QUIET, endpoints={"POST /x": "web-render"})(scope, None, send))

    assert messages == [START, LAST]
    assert outcomes(remotion_usage) == [True]


@pytest.mark.parametrize("kind", ["websocket", "something.new"])
def test_other_scopes(kind: str) -> None:
    """
    Other connections reach the app with the server's own scope, receive and send.
    """
    seen = []

    async def app(*given: Any) -> None:
        seen.append(given)

    given = ({"type": kind, "path": "/convert"}, object(), object())
    asyncio.run(UsageMiddleware(app, **QUIET)(*given))

    assert list(map(id, given)) == list(map(id, seen[0]))
    assert {"type": kind, "path": "/convert"} == given[0]


@pytest.mark.parametrize("outer", [{}, {"license_key": "other"}])
def test_installed_twice(outer: dict[str, Any], remotion_usage) -> None:
    """
    With the middleware installed twice a request counts once.
    """
    exchange(UsageMiddleware(UsageMiddleware(answering(), **QUIET), **{**QUIET, **outer}))

    assert outcomes(remotion_usage) == [True]


def test_concurrent_requests(remotion_usage) -> None:
    """
    Requests under way at the same time share nothing: each point has its own outcome, host and key.
    """
    size = 50

    async def main() -> None:
        barrier = asyncio.Barrier(size)

        @usage_point("cloud-render")
        async def endpoint(number: int) -> None:
            usage = current_usage()
            usage.idempotency_key = f"key-{number}"
            usage.succeeded = number % 2 == 0
            await barrier.wait()
            assert current_usage().idempotency_key == usage.idempotency_key

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await endpoint(int(scope["path"][1:]))
            await barrier.wait()
            await send(START)
            await barrier.wait()
            await send(LAST)

        ours = UsageMiddleware(app, **QUIET)
        hosts = ({"Origin": f"https://app-{number}.com"} for number in range(size))
        await asyncio.gather(*(aexchange(ours, path=f"/{n}", headers=host) for n, host in enumerate(hosts)))
        assert current_usage().idempotency_key != current_usage().idempotency_key

    asyncio.run(main())

    expected = {(f"key-{n}", f"https://app-{n}.com", n % 2 == 0) for n in range(size)}
    assert expected == {(point.idempotency_key, point.host, point.succeeded) for point in remotion_usage.points}


def test_context_is_reset(remotion_usage) -> None:
    """
    After a request its usage point is nobody's.
    """

    async def main() -> None:
        await aexchange(UsageMiddleware(answering(error=ValueError()), **QUIET))
        assert current_usage().idempotency_key != current_usage().idempotency_key

    asyncio.run(main())


class BadRecorder(UsageRecorder):
    """
    Raises whenever it is asked to do something.
    """

    def _refuse(self, *_: Any) -> Any:
        raise RuntimeError(KEY)

    async def arecord(self, point: Any, *, wait: float | None = None) -> bool:
        return self._refuse()

    start = stop = deliver = count_host = _refuse


@pytest.mark.parametrize("messages", [[START, LAST], [start(202), LAST], [start(500), LAST]])
def test_recorder_raises(messages: list[Any], caplog) -> None:
    """
    A recorder that raises changes nothing for the client, and is logged.
    """
    recorder = BadRecorder(Settings(**{**QUIET, "delivery": "inline"}))
    done = exchange(UsageMiddleware(answering(*messages), recorder=recorder), headers={"Origin": ORIGIN})

    assert (messages, None) == (done.messages, done.error)


def test_recorder_raises_is_logged(caplog) -> None:
    """
    What a recorder raises is logged once, with its traceback.
    """
    exchange(UsageMiddleware(answering(), recorder=BadRecorder(Settings(**QUIET))))

    (record,) = caplog.records
    assert (record.action, record.levelno) == ("record_crashed", logging.ERROR)
    assert record.exc_info


def test_recorder_raises_after_an_error() -> None:
    """
    A recorder that raises does not hide the app's own error.
    """
    error = ValueError()
    done = exchange(UsageMiddleware(answering(START, error=error), recorder=BadRecorder(Settings(**QUIET))))

    assert done.error is error


class FullOutbox(MemoryOutbox):
    def add(self, points: Any) -> None:
        raise OutboxError("disk full")


def test_outbox_refuses() -> None:
    """
    A store that refuses changes nothing for the client, and the point waits.
    """
    recorder = UsageRecorder(Settings(**QUIET), outbox=FullOutbox())
    done = exchange(UsageMiddleware(answering(), recorder=recorder))
    waiting = recorder.counts().waiting
    recorder.stop(0)

    assert (done.messages, waiting) == ([START, LAST], 1)


@pytest.mark.parametrize("event", [None, "render"])
def test_bad_adjustment(event: Any, remotion_usage) -> None:
    """
    An endpoint that breaks its own usage point still gets its response out.
    """

    @usage_point("cloud-render")
    def enter() -> None:
        current_usage().event = event

    async def app(scope: Any, receive: Any, send: Any) -> None:
        enter()
        await send(START)
        await send(LAST)

    assert exchange(UsageMiddleware(app, **QUIET)).messages == [START, LAST]


def test_inline_delivers_after_the_end() -> None:
    """
    With `delivery="inline"` the point is delivered once the server has the last message, before the request ends.
    """
    happened: list[str] = []

    class Recorder(UsageRecorder):
        def deliver(self, timeout: float | None = None) -> int:
            happened.append(f"deliver within {timeout}")
            return 1

    async def send(message: Any) -> None:
        happened.append(message["type"])

    recorder = Recorder(Settings(**{**QUIET, "delivery": "inline"}, timeout=2.0))
    asyncio.run(UsageMiddleware(answering(), recorder=recorder)(http_scope(), None, send))
    recorder.stop()

    assert [START["type"], LAST["type"], "deliver within 2.0"] == happened


def lifespan(app: App) -> list[str]:
    """
    Run the lifespan of *app* and return the messages it sent.
    """
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send))
    return sent


@pytest.mark.parametrize("end", ["lifespan.shutdown.complete", "lifespan.shutdown.failed"])
@pytest.mark.parametrize("broken", [False, True])
def test_lifespan(end: str, broken: bool, monkeypatch) -> None:
    """
    The recorder starts before the app counts as started and stops before it counts as ended, even when it raises.
    """
    happened: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for kind in ("lifespan.startup.complete", end):
            await receive()
            happened.append(f"app sends {kind}")
            await send({"type": kind})
            happened.append(f"server has {kind}")

    def note(name: str) -> Any:
        def method(_: Any) -> None:
            happened.append(name)
            if broken:
                raise RuntimeError

        return method

    for name in ("start", "stop"):
        monkeypatch.setattr(UsageRecorder, name, note(name))
    sent = lifespan(UsageMiddleware(app, **QUIET))

    assert ["lifespan.startup.complete", end] == sent
    assert [happened.index("start"), happened.index("stop")] == [1, 4]


def test_failed_start(monkeypatch) -> None:
    """
    An app that fails to start starts no recorder.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed"})

    monkeypatch.delattr(UsageRecorder, "start")

    assert lifespan(UsageMiddleware(app, **QUIET)) == ["lifespan.startup.failed"]


def test_without_lifespan() -> None:
    """
    Without lifespan the first point starts what it needs.
    """
    recorder = UsageRecorder(Settings(**QUIET))
    exchange(UsageMiddleware(answering(), recorder=recorder))
    stored = recorder.counts().stored.pending
    recorder.stop(PATIENCE)

    assert stored == 1


class Permissive:
    """
    An endpoint that has every attribute.
    """

    def __getattr__(self, name: str) -> str:
        return name


class Prickly:
    """
    An endpoint that has none, and says so in its own way.
    """

    def __getattr__(self, name: str) -> str:
        raise ZeroDivisionError(name)


@pytest.mark.parametrize("endpoint", [Permissive(), Prickly()], ids=["permissive", "prickly"])
def test_strange_endpoint(endpoint: Any, remotion_usage) -> None:
    """
    An endpoint object that answers strangely to questions about it is served as ever, and not counted.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["endpoint"] = endpoint
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    done = exchange(UsageMiddleware(app, **QUIET))

    assert (done.body, done.error, remotion_usage.points) == (b"fine", None, [])


def test_point_that_cannot_be_recorded_is_logged(monkeypatch, caplog) -> None:
    """
    When recording raises, the whole point is in the log.
    """

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    @usage_point("cloud-render")
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    monkeypatch.setattr(UsageRecorder, "arecord", broken)
    done = exchange(UsageMiddleware(app, **QUIET))
    points = [point for record in caplog.records if (point := read_point(record.getMessage()))]

    assert done.error is None
    assert [point.event for point in points] == ["cloud-render"]


def test_scope_is_let_go() -> None:
    """
    After the request the scope holds nothing of the middleware's, so nothing waits for the garbage collector.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    before = set(http_scope())

    assert set(exchange(UsageMiddleware(app, **QUIET)).scope) == before


def test_zero_copy_send_is_a_body(remotion_usage) -> None:
    """
    A server that sends the body's file by itself ends the response with it.
    """

    @usage_point("cloud-render")
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.zerocopysend", "file": 3, "more_body": False})

    exchange(UsageMiddleware(app, **QUIET))

    assert [point.succeeded for point in remotion_usage.points] == [True]

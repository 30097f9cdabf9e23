"""
The middleware as a WSGI server and a WSGI app see it, with no framework in between.
"""

# ruff: noqa: D102 - what tests define explains itself

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any, cast
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from remotion_licensing_integrations import (
    ConfigurationError,
    Settings,
    UsageRecorder,
    current_usage,
    default_recorder,
    set_default_recorder,
    usage_point,
)
from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.wsgi import UsageMiddleware

from ._outboxes import PATIENCE, new_point
from ._wsgi import QUIET, Answer, App, environ, exchange


@usage_point("cloud-render")
def enter() -> None:
    """
    Stand for a conversion.
    """


class Parts:
    """
    A body that is neither a list nor a generator, and notes that it was closed.
    """

    def __init__(self, parts: Iterable[bytes], error: BaseException | None = None) -> None:
        self._parts = iter(parts)
        self._error = error
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed += 1


def answering(*parts: bytes, status: str = "200 OK", error: BaseException | None = None, **headers: str) -> App:
    """
    Return an app with a decorated endpoint whose body has *parts*, and then fails with *error*.
    """

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        enter()
        start_response(status, [(name.replace("_", "-"), value) for name, value in headers.items()])
        return Parts(parts, error)

    return app


def crash(*_: Any) -> Iterable[bytes]:
    enter()
    raise ValueError


def crash_after_start(_: Any, start_response: Any) -> Iterable[bytes]:
    enter()
    start_response("200 OK", [])
    raise ValueError


def generate(_: Any, start_response: Any) -> Iterator[bytes]:
    enter()
    start_response("200 OK", [])
    yield b"vi"
    yield b"deo"


def write(_: Any, start_response: Any) -> Iterable[bytes]:
    enter()
    start_response("200 OK", [("Content-Length", "5")])(b"video")
    return []


def replace_status(_: Any, start_response: Any) -> Iterable[bytes]:
    enter()
    start_response("200 OK", [])
    start_response("500 Oops", [], (ValueError, ValueError(), None))
    return [b"sorry"]


def name_the_error(_: Any, start_response: Any) -> Iterable[bytes]:
    enter()
    start_response("500 Oops", [], exc_info=(ValueError, ValueError(), None))
    return [b"sorry"]


def never_start(*_: Any) -> Iterable[bytes]:
    enter()
    return [b"video"]


def return_bytes(_: Any, start_response: Any) -> Iterable[Any]:
    enter()
    start_response("200 OK", [])
    return b"video"


def listed(_: Any, start_response: Any) -> Iterable[bytes]:
    enter()
    start_response("200 OK", [])
    return [b"vi", b"deo"]


ENDINGS: dict[str, tuple[App, list[bool]]] = {
    "whole": (answering(b"vi", b"deo"), [True]),
    "empty": (answering(), [True]),
    "list": (listed, [True]),
    "generator": (generate, [True]),
    "written": (write, [True]),
    "204": (answering(status="204 No Content"), [True]),
    "server error": (answering(b"sorry", status="500 Oops"), [False]),
    "replaced by a server error": (replace_status, [False]),
    "replaced by name": (name_the_error, [False]),
    "never started": (never_start, [False]),
    "error before the start": (crash, [False]),
    "error after the start": (crash_after_start, [False]),
    "error in the middle": (answering(b"vi", error=ValueError()), [False]),
    "length reached": (answering(b"vi", b"deo", Content_Length="5"), [True]),
    "length reached, then error": (answering(b"video", error=ValueError(), content_length="5"), [True]),
    "length not reached": (answering(b"vi", error=ValueError(), Content_Length="5"), [False]),
    "length unreadable": (answering(b"vi", error=ValueError(), Content_Length="x"), [False]),
    "status unreadable": (answering(b"vi", status="OK"), [True]),
    "bytes": (return_bytes, [True]),
    "no bytes": (answering(b"vi", cast("bytes", None), b"deo", Content_Length="5"), [True]),
    "part": (answering(b"vi", status="206 Partial Content"), []),
}


def outcomes(recorded: Any) -> list[bool]:
    return [point.succeeded for point in recorded.points]


@pytest.mark.parametrize("name", ENDINGS)
def test_ending(name, remotion_usage):
    """
    The outcome is settled once, at the response's last byte or where it broke off.
    """
    app, expected = ENDINGS[name]
    exchange(UsageMiddleware(app, **QUIET))

    assert outcomes(remotion_usage) == expected


@pytest.mark.parametrize("name", ENDINGS)
def test_everything_is_passed_on(name):
    """
    The server sees what the app does, and its errors.
    """

    def without(app: App) -> Answer:
        answer = exchange(app)
        answer.error = answer.error and type(answer.error)
        return answer

    app, _ = ENDINGS[name]
    bare, ours = without(app), without(UsageMiddleware(app, **QUIET))

    assert (ours.data, ours.headers, ours.error) == (bare.data, bare.headers, bare.error)
    assert [event for event in ours.events if event != "closed"] == [
        event for event in bare.events if event != "closed"
    ]


@pytest.mark.parametrize("name", ["whole", "list", "generator", "written", "204", "server error", "length reached"])
def test_pep_3333(name):
    """
    Between a server and an app that both check each call, nothing is amiss.
    """
    typed = [("Content-Type", "text/plain")]

    def app(variables: Any, start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: Any, *more: Any) -> Any:
            return start_response(status, headers if status.startswith("204") else headers + typed, *more)

        return ENDINGS[name][0](variables, start)

    answer = exchange(validator(UsageMiddleware(validator(app), **QUIET)))

    assert answer.error is None


@pytest.mark.parametrize(
    ("app", "last"),
    [
        (answering(b"vi", b"deo", Content_Length="5"), b"deo"),
        (write, b"video"),
        (listed, b"vi"),
        (answering(b"", Content_Length="0"), b""),
    ],
)
def test_committed_before_the_last_byte(app, last):
    """
    When the last byte of a known length goes out, its point is committed; and before, it is not.
    """
    recorder = UsageRecorder(Settings(**QUIET), outbox=MemoryOutbox())
    seen: list[tuple[bytes, int]] = []
    answer = exchange(
        UsageMiddleware(app, recorder=recorder),
        see=lambda answer: seen.append((answer.events[-1], recorder.outbox.counts().pending)),
    )
    recorder.stop()

    assert answer.error is None
    assert dict(seen)[last] == 1
    assert all(committed == 0 for part, committed in seen[:-1] if app is not listed)


def test_committed_before_the_end_of_the_body():
    """
    Of a body of unknown length the server learns the end after the point is committed.
    """
    recorder = UsageRecorder(Settings(**QUIET), outbox=MemoryOutbox())
    body = iter(UsageMiddleware(generate, recorder=recorder)(environ(), lambda *_: None))

    assert [next(body), next(body)] == [b"vi", b"deo"]
    assert recorder.outbox.counts().pending == 0
    assert next(body, None) is None
    assert recorder.outbox.counts().pending == 1
    recorder.stop()


@pytest.mark.parametrize(("reports", "expected"), [(False, []), (True, [False])])
def test_client_that_leaves(reports, expected, remotion_usage):
    """
    A response that is closed before its end was aborted, which is reported only if asked for.
    """
    body = Parts([b"vi", b"deo"])

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        enter()
        start_response("200 OK", [])
        return body

    exchange(UsageMiddleware(app, **QUIET, report_aborted=reports), leave_after=1)

    assert outcomes(remotion_usage) == expected
    assert body.closed == 1


def test_error_while_closing(remotion_usage):
    """
    An error of the body's `close` goes on to the server, and changes nothing about a response that was whole.
    """

    class Broken(Parts):
        def close(self) -> None:
            raise ValueError

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        enter()
        start_response("200 OK", [])
        return Broken([b"video"])

    assert isinstance(exchange(UsageMiddleware(app, **QUIET)).error, ValueError)
    assert outcomes(remotion_usage) == [True]


def test_body_that_cannot_be_iterated(remotion_usage):
    """
    An app that returns nonsense failed, and the server gets its error.
    """

    def app(_: Any, start_response: Any) -> Any:
        enter()
        start_response("200 OK", [])
        return 42

    assert isinstance(exchange(UsageMiddleware(app, **QUIET)).error, TypeError)
    assert outcomes(remotion_usage) == [False]


@pytest.mark.parametrize("counts", [True, False])
def test_what_exists_is_not_wrapped(counts, remotion_usage):
    """
    A list keeps its length, and a file can be sent by the server itself.
    """
    file, parts = FileWrapper(io.BytesIO(b"video")), [b"video"]
    for body in (file, parts, tuple(parts), b"video"):

        def app(_: Any, start_response: Any, body: Any = body) -> Any:
            if counts:
                enter()
            start_response("200 OK", [])
            return body

        answer = exchange(UsageMiddleware(app, **QUIET), **{"wsgi.file_wrapper": FileWrapper})
        assert answer.body is body
    assert outcomes(remotion_usage) == [True, True, True, True] * counts


def test_file_of_uwsgi_is_not_wrapped(remotion_usage):
    """
    The wrapper of uWSGI is a function that notes the file, and sends it by itself when the app returns it.
    """
    file = io.BytesIO(b"video")

    def app(variables: Any, start_response: Any) -> Any:
        enter()
        start_response("200 OK", [])
        return variables["wsgi.file_wrapper"](file)

    answer = exchange(UsageMiddleware(app, **QUIET), **{"wsgi.file_wrapper": lambda file: file})

    assert answer.body is file
    assert outcomes(remotion_usage) == [True]


def test_sized_body_keeps_its_length():
    """
    A server that asks for the number of parts gets the app's answer.
    """

    class Sized(Parts):
        def __len__(self) -> int:
            return 1

    def app(_: Any, start_response: Any) -> Any:
        enter()
        start_response("200 OK", [])
        return Sized([b"video"])

    assert len(exchange(UsageMiddleware(app, **QUIET)).body) == 1
    with pytest.raises(TypeError):
        len(exchange(UsageMiddleware(answering(), **QUIET)).body)


@pytest.mark.parametrize("app", [listed, generate, answering(b"video", Content_Length="5")])
def test_delivered_inline_after_the_last_byte(app, monkeypatch):
    """
    With `delivery="inline"` points are delivered when the server closes the response.
    """
    settings = Settings(**{**QUIET, "delivery": "inline"})
    recorder = UsageRecorder(settings, outbox=MemoryOutbox())
    sent: list[list[Any]] = []
    answers: list[Answer] = []
    monkeypatch.setattr(recorder, "deliver_inline", lambda: sent.append([*answers[-1].events]))
    answer = exchange(UsageMiddleware(app, recorder=recorder), see=answers.append)
    recorder.stop()

    assert sent == [[event for event in answer.events if event != "closed"]]


def test_failure_without_a_body_is_delivered_inline(monkeypatch):
    """
    What an app that raises before it returns a body has recorded is delivered before the server hears of the error.
    """
    recorder = UsageRecorder(Settings(**{**QUIET, "delivery": "inline"}), outbox=MemoryOutbox())
    delivered: list[Any] = []
    monkeypatch.setattr(recorder, "deliver_inline", lambda: delivered.extend(recorder.outbox.list()))
    answer = exchange(UsageMiddleware(crash, recorder=recorder))

    assert isinstance(answer.error, ValueError)
    assert [stored.point.succeeded for stored in delivered] == [False]


def test_bytes_as_a_body_are_delivered_inline_as_one_part():
    """
    What uWSGI sends whole is no body of numbers when its end is watched.
    """
    settings = Settings(**{**QUIET, "delivery": "inline"})
    recorder = UsageRecorder(settings, outbox=MemoryOutbox())
    body = UsageMiddleware(return_bytes, recorder=recorder)(environ(), lambda *_: None)
    recorder.stop()

    assert [*body] == [b"video"]


def test_other_requests_deliver_nothing(monkeypatch):
    """
    Where nothing counts, nothing is delivered inline either.
    """
    recorder = UsageRecorder(Settings(**{**QUIET, "delivery": "inline"}), outbox=MemoryOutbox())
    delivered: list[bool] = []
    monkeypatch.setattr(recorder, "deliver_inline", lambda: delivered.append(True))
    for body in ([b"page"], Parts([b"page"])):

        def app(_: Any, start_response: Any, body: Any = body) -> Iterable[bytes]:
            start_response("200 OK", [])
            return body

        answer = exchange(UsageMiddleware(app, recorder=recorder))
        assert answer.data == b"page"
        assert (answer.body is body) == isinstance(body, list)
    recorder.stop()

    assert delivered == []


@pytest.mark.parametrize(
    ("rule", "script", "path", "counts"),
    [
        ("POST /convert", "", "/convert", True),
        ("POST /api/convert", "/api", "/convert", True),
        ("POST /convert", "/api", "/convert", True),
        ("POST /vidéo", "", "/vidéo".encode().decode("latin-1"), True),
        ("POST /видео", "", "/видео", True),  # as some gateways of serverless platforms pass it, against PEP 3333
        ("GET /convert", "", "/convert", False),
        ("POST /other", "", "/convert", False),
    ],
)
def test_rules(rule, script, path, counts, remotion_usage):
    """
    A rule counts an endpoint by its path, with or without what it is mounted at.
    """

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"video"]

    exchange(UsageMiddleware(app, **QUIET, endpoints={rule: "web-render"}), path=path, SCRIPT_NAME=script)

    assert [point.event for point in remotion_usage.points] == ["web-render"] * counts


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ({"Origin": "https://myapp.com"}, "https://myapp.com"),
        ({"Origin": "https://myapp.com, https://other.app"}, None),
        ({"Referer": "https://myapp.com/editor?id=1"}, "https://myapp.com"),
        ({"Sec-Fetch-Site": "same-origin", "Host": "myapp.com"}, "https://myapp.com"),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Host": "myapp.com"}, "https://myapp.com"),
        ({"Sec-Fetch-Site": "cross-site", "Host": "myapp.com"}, None),
        ({"Host": "myapp.com"}, None),
        ({"X-Forwarded-Host": "evil.app"}, None),
    ],
)
def test_host(headers, host, remotion_usage):
    """
    The host is the page's origin; the server's own one only where the browser says that it is the same.
    """
    exchange(UsageMiddleware(listed, **QUIET), headers=headers, **{"wsgi.url_scheme": "https"})

    assert [point.host for point in remotion_usage.points] == [host]


def test_twice(remotion_usage):
    """
    Of two middlewares the outer one counts, with the rules of both.
    """

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"video"]

    inner = UsageMiddleware(app, **QUIET, endpoints={"POST /convert": "web-render"})
    exchange(UsageMiddleware(inner, **QUIET, host="https://outer.app"))

    assert [(point.event, point.host) for point in remotion_usage.points] == [("web-render", "https://outer.app")]


def test_environ_that_is_used_again(remotion_usage):
    """
    An environ whose response has ended belongs to no request any more.
    """
    app, variables = UsageMiddleware(listed, **QUIET), environ()
    for _ in range(2):
        app(variables, lambda *_: None)

    assert outcomes(remotion_usage) == [True, True]


def test_current_usage_in_a_generator(remotion_usage):
    """
    What a body says while it is iterated counts, too.
    """

    def app(_: Any, start_response: Any) -> Iterator[bytes]:
        enter()
        start_response("200 OK", [])
        yield b"vi"
        current_usage().succeeded = False

    exchange(UsageMiddleware(app, **QUIET))

    assert outcomes(remotion_usage) == [False]


def test_default_recorder(monkeypatch):
    """
    Jobs and threads of the process find the middleware's recorder.
    """
    set_default_recorder(None)
    middleware = UsageMiddleware(listed, **QUIET)

    assert default_recorder() is middleware.recorder
    set_default_recorder(None)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"licence_key": "rm_pub_x"}, TypeError, "licence_key"),
        ({"timeout": -1}, ConfigurationError, "timeout"),
        ({"endpoints": {"convert": "web-render"}}, ConfigurationError, "convert"),
        ({"settings": Settings(), "license_key": "rm_pub_x"}, TypeError, "one of"),
    ],
)
def test_mistakes_are_raised(arguments, error, message):
    """
    A mistake keeps the server from starting, and names what is wrong.
    """
    with pytest.raises(error, match=message):
        UsageMiddleware(listed, **arguments)


class Watched(MemoryOutbox):
    """
    Tells when it is opened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()

    def open(self) -> None:
        self.opened.set()


def test_the_first_request_of_a_process_starts_delivery():
    """
    Points that another process has left are delivered from the first request on, whatever it is.
    """
    outbox = Watched()
    recorder = UsageRecorder(Settings(**QUIET), outbox=outbox)
    outbox.add([new_point()])
    app = UsageMiddleware(lambda _, start: (start("200 OK", []), [b"page"])[1], recorder=recorder)
    assert not outbox.opened.is_set()

    exchange(app)

    assert outbox.opened.wait(PATIENCE)
    recorder.stop()


def test_a_fork_starts_delivery_again(monkeypatch):
    """
    A worker process that was forked after a request starts its own delivery.
    """
    started: list[int] = []
    recorder = UsageRecorder(Settings(**QUIET), outbox=MemoryOutbox())
    monkeypatch.setattr(recorder, "start", lambda: started.append(os.getpid()))
    monkeypatch.setattr(threading.Thread, "start", lambda thread: thread.run())
    app = UsageMiddleware(listed, recorder=recorder)
    for pid in (1, 1, 2):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        app(environ(method="HEAD"), lambda *_: None)

    assert started == [1, 2]


def test_no_thread_to_start_with(monkeypatch):
    """
    Where the system allows no more threads, the request is served.
    """

    def refuse(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    app = UsageMiddleware(answering(b"page"), **QUIET)
    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert exchange(app, "HEAD").data == b"page"

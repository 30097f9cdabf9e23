"""
Bytes on the wire and the errors of both HTTP libraries, against real loopback servers.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import itertools
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from remotion_licensing_integrations.api.client import LicensingClient
from remotion_licensing_integrations.api.deadline import Deadline
from remotion_licensing_integrations.api.protocol import Answer, Request
from remotion_licensing_integrations.errors import (
    CertificateError,
    LicensingError,
    NoAnswerError,
    NotSentError,
    UnavailableError,
)
from tests._servers import (
    LIBRARIES,
    SUCCESS,
    answer,
    drip,
    load_http,
    raw_server,
    reset,
    send,
    silence,
    tls_context,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

KEY = "rm_pub_4bZ0kQ"
REQUEST = Request("/api/track/register-usage-point", b'{"apiKey":"%s"}' % KEY.encode(), {"X-Extra": "1"})
TIMEOUT = 0.15  # seconds
SLACK = 2.0  # seconds a slow machine may add
POINT: dict[str, Any] = {"event": "cloud-render", "host": None, "succeeded": True}


def send_sync(http: ModuleType, url: str, *, timeout: float = 5, times: int = 1, last: float | None = None) -> Answer:
    """
    Send *times* requests over one connection, the last one with a timeout of its own, and return the last answer.
    """
    connection = http.Connection(url, timeout)
    try:
        for _ in range(times - 1):
            connection.send(REQUEST)
        connection.timeout = last or timeout
        return connection.send(REQUEST)
    finally:
        connection.close()


def send_async(http: ModuleType, url: str, *, timeout: float = 5, times: int = 1, last: float | None = None) -> Answer:
    """
    Same as `send_sync`, but asynchronous.
    """

    async def run() -> Answer:
        connection = http.AsyncConnection(url, timeout)
        try:
            for _ in range(times - 1):
                await connection.send(REQUEST)
            connection.timeout = last or timeout
            return await connection.send(REQUEST)
        finally:
            await connection.aclose()

    return asyncio.run(run())


SENDS = pytest.mark.parametrize("post", [send_sync, send_async], ids=["sync", "async"])
Post = "Callable[..., Answer]"


@SENDS
def test_answer(post: Post, http: ModuleType) -> None:
    """
    Status, headers by lower-case name, and body come back.
    """
    with raw_server(answer(b"hello", 418, {"Retry-After": "7"})) as server:
        found = post(http, server.url)

    assert (found.status, found.headers["retry-after"], found.body) == (418, "7", b"hello")


@SENDS
def test_request(post: Post, http: ModuleType) -> None:
    """
    The request is a POST of exactly the body, without cookies or compression.
    """
    with raw_server(answer()) as server:
        post(http, server.url)

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    line, *fields = head.decode().lower().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    assert (line, body) == ("post /api/track/register-usage-point http/1.1", REQUEST.body)
    assert headers.keys() == {
        "host", "content-type", "accept", "accept-encoding", "user-agent", "content-length", "x-extra"
    }  # fmt: skip
    assert (headers["content-type"], headers["accept-encoding"]) == ("application/json", "identity")


@SENDS
def test_connection_is_kept(post: Post, http: ModuleType) -> None:
    """
    Requests one after the other share a connection.
    """
    with raw_server(answer()) as server:
        post(http, server.url, times=3)

    assert (len(server.requests), server.connections) == (3, 1)


@SENDS
def test_cookies_are_not_returned(post: Post, http: ModuleType) -> None:
    """
    A cookie of one answer is not part of the next request.
    """
    with raw_server(answer(headers={"Set-Cookie": "a=b"})) as server:
        post(http, server.url, times=2)

    assert b"cookie" not in server.requests[1].lower()


PROXIED = b"POST http://api.invalid:8000/api/track/register-usage-point HTTP/1.1"


@SENDS
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_proxy_of_the_environment(
    variable: str, scheme: str, post: Post, http: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Requests go through the proxy that the environment names.
    """
    with raw_server(answer()) as proxy:
        monkeypatch.setenv(variable, proxy.url.replace("http://", scheme))
        post(http, "http://api.invalid:8000")

    assert proxy.requests[0].startswith(PROXIED)


@SENDS
@pytest.mark.parametrize("proxy", ["ftp://me:hunter2@proxy", "http://me:ter2/x@proxy"])
def test_password_of_an_unusable_proxy(
    proxy: str, post: Post, http: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    When the environment's proxy cannot be used, the error says so, and its password is in no line of the traceback.
    """
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(NotSentError, match=r"the proxy '.*me:.*' cannot be used") as caught:
        post(http, "http://api.invalid:8000")

    assert "ter2" not in "".join(traceback.format_exception(caught.value))


@SENDS
def test_proxy_that_needs_a_package(post: Post, http: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A SOCKS proxy without the package that speaks SOCKS is an error that names the package.
    """
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")

    with pytest.raises(NotSentError, match="socksio"):
        post(http, "http://api.invalid:8000")


@SENDS
def test_authorities_that_cannot_be_read(post: Post, http: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Certificate authorities that are not where the environment says are an error that names the variable.
    """
    if http.httpx.__version__ < "0.28":
        pytest.skip("httpx 0.27 takes its own authorities then")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authorities.pem")
    monkeypatch.setattr(http, "_ssl_context", http._ssl_context.__wrapped__)  # the process reads them once

    with pytest.raises(NotSentError, match="SSL_CERT_FILE"):
        post(http, "http://api.invalid:8000")


@SENDS
def test_key_in_the_variables_of_an_error(post: Post, http: ModuleType) -> None:
    """
    A traceback with the variables of each call, as error trackers make it, has no licence key.
    """
    with pytest.raises(NotSentError) as caught:
        post(http, "http://127.0.0.1:1")
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)

    assert KEY not in "".join(shown.format())


@SENDS
@pytest.mark.parametrize("exceptions", ["*", "127.0.0.1", "other.example,127.0.0.1:{port}"])
def test_no_proxy(exceptions: str, post: Post, http: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What `NO_PROXY` names, with or without its port, is reached directly.
    """
    with raw_server(answer()) as server:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", exceptions.format(port=server.url.rpartition(":")[2]))

        assert post(http, server.url).body == SUCCESS


@SENDS
def test_redirect_is_an_answer(post: Post, http: ModuleType) -> None:
    """
    A redirect comes back as it is; nothing is sent to its target.
    """
    with raw_server(answer(b"", 307, {"Location": "/elsewhere"}), answer()) as server:
        assert post(http, server.url).status == 307

    assert len(server.requests) == 1


def _exceptions(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for cls in root.__subclasses__():
        yield from _exceptions(cls)


NOT_SENT = {"ConnectError", "ConnectTimeout", "InvalidURL", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}


def test_what_counts_as_not_sent(http: ModuleType) -> None:
    """
    Of all errors that the library can raise for a request, only those before the first byte goes out mean not sent.
    """
    errors = {*_exceptions(http.httpx.RequestError), http.httpx.InvalidURL}

    assert len(errors) > 15
    assert {cls.__name__ for cls in errors if http.translate(cls("x")) is NotSentError} == NOT_SENT


@SENDS
@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nonexistent.invalid", "http://999.1.1.1"])
def test_not_sent(url: str, post: Post, http: ModuleType) -> None:
    """
    A refused connection, an unknown name and an impossible address mean not sent, and the error has its cause.
    """
    with pytest.raises(NotSentError, match=f"^{url}: ") as caught:
        post(http, url)

    assert type(caught.value.__cause__).__module__.startswith(http.httpx.__name__)


@SENDS
def test_tls_to_a_plain_server(post: Post, http: ModuleType) -> None:
    """
    A TLS handshake that the server breaks off means not sent.
    """
    with raw_server(answer()) as server, pytest.raises(NotSentError) as caught:
        post(http, server.url.replace("http:", "https:"))

    assert type(caught.value) is NotSentError


@SENDS
def test_untrusted_certificate(post: Post, http: ModuleType, tmp_path: Path) -> None:
    """
    A certificate that nobody trusts is a CertificateError, and no request reaches its server.
    """
    with raw_server(answer(), context=tls_context(tmp_path)) as server, pytest.raises(CertificateError):
        post(http, server.url)

    assert not server.requests


@pytest.fixture
def trusted(http: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """
    A server's TLS context whose certificate the client trusts.
    """
    server = tls_context(tmp_path)
    client = ssl.create_default_context(cafile=str(tmp_path / "self-signed.pem"))
    monkeypatch.setattr(http, "_ssl_context", lambda: client)
    return server


@SENDS
def test_tls(post: Post, http: ModuleType, trusted: ssl.SSLContext) -> None:
    """
    With a trusted certificate, requests share a TLS connection.
    """
    with raw_server(answer(), context=trusted) as server:
        assert post(http, server.url, times=2).body == SUCCESS

    assert server.connections == 1


@SENDS
def test_certificate_of_another_name(post: Post, http: ModuleType, trusted: ssl.SSLContext) -> None:
    """
    A certificate for another host is a CertificateError.
    """
    with raw_server(answer(), context=trusted) as server, pytest.raises(CertificateError):
        post(http, server.url.replace("localhost", "127.0.0.1"))


@SENDS
@pytest.mark.parametrize(
    "script",
    [
        reset(),
        send(b""),
        reset(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        send(b"\x00not HTTP\r\n\r\n"),
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        answer(b"not gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["reset", "closed", "reset-in-body", "closed-in-body", "not-http", "bad-chunk", "bad-gzip"],
)
def test_no_answer(script: Any, post: Post, http: ModuleType) -> None:
    """
    Whatever breaks once the request is out may have been counted.
    """
    with raw_server(script) as server, pytest.raises(NoAnswerError):
        post(http, server.url)


DRIPPED_HEADERS = drip(b"HTTP/1.1 200 OK\r\n", (b"X-%d: y\r\n" % n for n in itertools.count()))
DRIPPED_LETTERS = drip(b"HTTP/1.1 200 OK\r\nX: ", itertools.repeat(b"y"))
DRIPPED_BODY = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", itertools.repeat(b"y"))
DRIPPED_HINTS = drip(b"", itertools.repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"))
SLOW = [DRIPPED_HEADERS, DRIPPED_LETTERS, DRIPPED_BODY, DRIPPED_HINTS, silence(), silence(b"HTTP/1.1 200 OK\r\n")]
SLOW_IDS = ["headers", "letters", "body", "hints", "silence", "half"]


@SENDS
@pytest.mark.parametrize("script", SLOW, ids=SLOW_IDS)
def test_deadline(script: Any, post: Post, http: ModuleType) -> None:
    """
    However an answer drips in, the attempt ends at its timeout, also on a connection that was kept.
    """
    with raw_server(answer(), answer(), script) as server:
        start = time.monotonic()
        with pytest.raises(NoAnswerError):
            post(http, server.url, times=3, last=TIMEOUT)
        seconds = time.monotonic() - start

    assert server.connections == 1
    assert TIMEOUT * 0.9 <= seconds < TIMEOUT + SLACK


@SENDS
@pytest.mark.parametrize("script", [DRIPPED_HEADERS, DRIPPED_BODY], ids=["headers", "body"])
def test_deadline_of_a_first_request(script: Any, post: Post, http: ModuleType) -> None:
    """
    The deadline covers connecting and the answer together.
    """
    # Long enough for a busy machine to connect in.
    timeout = 4 * TIMEOUT
    with raw_server(script) as server:
        start = time.monotonic()
        with pytest.raises(NoAnswerError):
            post(http, server.url, timeout=timeout)
        seconds = time.monotonic() - start

    assert timeout * 0.9 <= seconds < timeout + SLACK


@SENDS
@pytest.mark.parametrize("script", [DRIPPED_HEADERS, DRIPPED_BODY], ids=["headers", "body"])
def test_deadline_over_tls(script: Any, post: Post, http: ModuleType, trusted: ssl.SSLContext) -> None:
    """
    The deadline holds over TLS.
    """
    with raw_server(answer(), script, context=trusted) as server:
        start = time.monotonic()
        with pytest.raises(NoAnswerError):
            post(http, server.url, times=2, last=TIMEOUT)
        seconds = time.monotonic() - start

    assert seconds < TIMEOUT + SLACK


@SENDS
def test_deadline_of_the_handshake(post: Post, http: ModuleType) -> None:
    """
    A server that takes the connection and never shakes hands costs the timeout, and nothing was sent.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = time.monotonic()
        with pytest.raises(NotSentError):
            post(http, f"https://127.0.0.1:{listener.getsockname()[1]}", timeout=TIMEOUT)
        seconds = time.monotonic() - start

    assert seconds < TIMEOUT + SLACK


def test_cancelling_the_handshake_closes_the_connection(http: ModuleType) -> None:
    """
    A call that is cancelled while it connects leaves no socket open.
    """

    async def run(url: str, connection: socket.socket) -> bytes:
        call = asyncio.create_task(http.AsyncConnection(url, 5).send(REQUEST))
        connected, _ = await asyncio.get_running_loop().sock_accept(connection)
        with connected:
            connected.settimeout(0)
            await asyncio.get_running_loop().sock_recv(connected, 65536)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            async with asyncio.timeout(5):
                return await asyncio.get_running_loop().sock_recv(connected, 1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        rest = asyncio.run(run(f"https://127.0.0.1:{listener.getsockname()[1]}", listener))

    assert rest == b""


def test_deadline_when_connecting_takes_it_all(http: ModuleType, trusted: ssl.SSLContext) -> None:
    """
    When nothing is left for the handshake, nothing was sent.
    """
    clock = itertools.chain([0.0], itertools.repeat(5.0)).__next__
    with raw_server(answer(), context=trusted) as server:
        connection = http.Connection(server.url, 5, clock=clock)
        with pytest.raises(NotSentError, match="no complete answer within 5 s"):
            connection.send(REQUEST)
        connection.close()

    assert not server.requests


def test_injected_transports_have_a_deadline_for_the_body(http: ModuleType) -> None:
    """
    A transport without a network is held to the time too, from one piece of the body to the next.
    """
    response = http.httpx.Response(200, content=(b"x" for _ in itertools.count()))
    transport = http.httpx.MockTransport(lambda _: response)
    connection = http.Connection("http://sandbox", 5, transport, clock=itertools.count().__next__)

    with pytest.raises(NoAnswerError):
        connection.send(REQUEST)


def test_deadlines_of_threads_are_apart() -> None:
    """
    A request that starts in one thread does not lengthen another's.
    """
    deadline = Deadline("http://sandbox", clock=itertools.count().__next__)
    deadline.start(10)
    thread = threading.Thread(target=deadline.start, args=(100,))
    thread.start()
    thread.join()

    assert deadline.left(NoAnswerError) == 8


@SENDS
@pytest.mark.parametrize("framing", ["Content-Length: 1000000000", "Connection: close"])
def test_huge_body(framing: str, post: Post, http: ModuleType) -> None:
    """
    Of a body of 1 GB, 64 KB are read.
    """
    head = f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode()
    with raw_server(drip(head, itertools.repeat(b"x" * 65536, 15_000), every=0)) as server:
        found = post(http, server.url)

    assert found.body == b"x" * 65536


@functools.cache
def _gzip_bomb() -> bytes:
    return gzip.compress(bytes(64 * 1024 * 1024), 9)


@SENDS
def test_decompressed_body_is_bounded(post: Post, http: ModuleType) -> None:
    """
    The limit is of decompressed bytes.
    """
    with raw_server(answer(_gzip_bomb(), headers={"Content-Encoding": "gzip"})) as server:
        found = post(http, server.url)

    assert len(found.body) == 65536


@SENDS
def test_connection_after_a_huge_body_is_not_reused(post: Post, http: ModuleType) -> None:
    """
    What was left unread of one answer is not taken for the next.
    """
    with raw_server(answer(b"x" * 1_000_000), answer()) as server:
        assert post(http, server.url, times=2).body == SUCCESS

    assert server.connections == 2


def test_huge_body_is_an_unreadable_answer(http: ModuleType) -> None:
    """
    For the client, such an answer is no registration.
    """
    with raw_server(answer(b"[" + b"1," * 1_000_000 + b"1]")) as server, pytest.raises(UnavailableError) as caught:
        LicensingClient(base_url=server.url).register_usage_event(**POINT)

    assert len(caught.value.body) == 2000


@pytest.mark.parametrize(
    "script",
    [
        answer(b'{"success":false,"error":"Invalid API key %s"}' % KEY.encode(), 401),
        answer(KEY.encode(), 502),
        answer(b"", 307, {"Location": f"https://other.example/?{KEY}"}),
        send(KEY.encode() + b"\r\n\r\n"),
        reset(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + KEY.encode()),
        silence(),
    ],
    ids=["401", "502", "307", "not-http", "reset", "silence"],
)
def test_key_is_nowhere(script: Any, http: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """
    Neither errors with their causes, nor the client's repr, nor any log line show the key.
    """
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "remotion_licensing_integrations")
    with raw_server(script) as server:
        client = LicensingClient(KEY, base_url=server.url, timeout=0.5, max_attempts=1)
        with pytest.raises(LicensingError) as caught:
            client.register_usage_event(**POINT)
        client.close()

    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(client) + caplog.text
    assert KEY in server.requests[0].decode()
    assert KEY not in shown


def test_one_ssl_context_per_process(http: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Clients share one TLS context, made for the first of them.
    """
    made: list[ssl.SSLContext] = []
    make = http.httpx.create_ssl_context
    monkeypatch.setattr(http.httpx, "create_ssl_context", lambda: made.append(make()) or made[-1])
    http._ssl_context.cache_clear()
    for _ in range(3):
        http.Connection("https://sandbox.example", 1).close()
    http._ssl_context.cache_clear()

    assert len(made) == 1


def test_the_newer_library_wins() -> None:
    """
    With both installed, `httpx2` is used; without it, `httpx`.
    """
    assert [load_http(library).httpx.__name__ for library in LIBRARIES] == ["httpx2", "httpx"]


PRODUCTION = [
    "https://www.remotion.pro",
    "https://remotion.pro/x",
    "https://WWW.Remotion.PRO.",
    "http://a.b.remotion.pro",
]


@pytest.mark.parametrize("url", PRODUCTION)
@pytest.mark.parametrize("kind", ["Connection", "AsyncConnection"])
def test_production_is_refused_under_test(url: str, kind: str, http: ModuleType) -> None:
    """
    In a test run nothing can even be opened to the production API.
    """
    with pytest.raises(NotSentError, match="no request leaves a test run"):
        getattr(http, kind)(url, 1)


def test_production_is_refused_at_once(http: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The refusal is not repeated.
    """
    slept: list[float] = []
    monkeypatch.setattr(http.Connection, "sleep", staticmethod(slept.append))
    with pytest.raises(NotSentError, match="no request leaves a test run"):
        LicensingClient(KEY).register_usage_event(**POINT)

    assert not slept


@pytest.mark.parametrize("url", ["https://remotion.pro.example", "https://notremotion.pro", "http://127.0.0.1:1"])
def test_other_hosts_are_fine_under_test(url: str, http: ModuleType) -> None:
    """
    Only the production API is refused.
    """
    http.Connection(url, 1).close()


def test_injected_transport_is_fine_under_test(http: ModuleType) -> None:
    """
    With a transport of the test's own, production is a name like any other.
    """
    transport = http.httpx.MockTransport(lambda _: http.httpx.Response(200, content=SUCCESS))

    assert http.Connection("https://www.remotion.pro", 1, transport).send(REQUEST).body == SUCCESS


@pytest.mark.parametrize(
    ("environ", "argv", "is_test_run"),
    [
        ({"PYTEST_VERSION": "9"}, ["app"], True),
        ({"PYTEST_CURRENT_TEST": "x"}, ["app"], True),
        ({}, ["/usr/lib/python3.11/unittest/__main__.py", "tests"], True),
        ({}, ["python -m unittest", "tests"], True),
        ({}, ["manage.py", "test"], True),
        ({}, ["/srv/app/manage.py", "test", "shop"], True),
        ({}, ["/usr/bin/django-admin", "test"], True),
        ({}, ["/lib/django/__main__.py", "test"], True),
        ({}, ["manage.py", "runserver"], False),
        ({}, ["manage.py"], False),
        ({}, ["uvicorn", "test"], False),
        ({}, ["/srv/unittest-app/main.py"], False),
        ({}, [""], False),
        ({}, [], False),
    ],
)
def test_recognising_a_test_run(
    environ: dict[str, str], argv: list[str], http: ModuleType, monkeypatch: pytest.MonkeyPatch, *, is_test_run: bool
) -> None:
    """
    pytest, unittest and Django's test command are recognised, and nothing else.
    """
    for name in ("PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", argv)

    assert http.is_test_run() is is_test_run


def test_unittest_runs_are_recognised(tmp_path: Path) -> None:
    """
    `python -m unittest` is one, without any help of pytest's.
    """
    (tmp_path / "test_it.py").write_text(
        "import unittest\n"
        "from remotion_licensing_integrations import NotSentError, get_usage\n"
        "class Test(unittest.TestCase):\n"
        "    def test_it(self):\n"
        "        with self.assertRaisesRegex(NotSentError, 'no request leaves a test run'):\n"
        "            get_usage(timeout=0.001)\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "test_it"],
        cwd=tmp_path,
        env={**environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr

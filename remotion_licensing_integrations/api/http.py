"""
The one module that knows an HTTP library: `httpx2` when it is installed, else `httpx`.

Import it on the first delivery, not before: the library costs tens of milliseconds.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import threading
import time
from contextlib import aclosing, closing, contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from .._support.masking import mask
from .._support.testrun import is_test_run
from .._support.version import VERSION
from ..errors import CertificateError, ConfigurationError, NoAnswerError, NotSentError, TransportError
from .protocol import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    import httpx
else:
    try:
        import httpx2 as httpx
    except ModuleNotFoundError:
        import httpx

MAX_BODY: Final = 64 * 1024  # bytes, decompressed; the API's answers have some 100

MockTransport = httpx.MockTransport

_NOT_SENT: Final = (
    "InvalidURL",
    "UnsupportedProtocol",
    "PoolTimeout",
    "ConnectTimeout",
    "ConnectError",
    "ProxyError",
)
_NO_ANSWER: Final = (
    "WriteTimeout",
    "WriteError",
    "ReadTimeout",
    "ReadError",
    "CloseError",
    "LocalProtocolError",
    "RemoteProtocolError",
    "DecodingError",
    "SSEError",  # httpx2 alone has it
    "RequestError",  # and whatever the library may add below it
)
#: What each of the library's errors says about the request. Whatever may have happened after the first byte went out
#: counts as sent.
ERRORS: Final[dict[type[Exception], type[TransportError]]] = {
    getattr(httpx, name): kind
    for kind, names in ((NotSentError, _NOT_SENT), (NoAnswerError, _NO_ANSWER))
    for name in names
    if hasattr(httpx, name)
}


class Sender:
    """
    Moves requests and answers between one thread and the licensing API, over one kept-alive connection.

    Sharing it between threads is safe; only one of their connections stays open then.

    Args:
        base_url: Where the API is.
        timeout: Seconds for each `send`, from the connection to the answer's last byte. Two things before the first
            byte goes out are the operating system's and not cut short: the look-up of a name, and, for a name with
            several addresses, the trial of each for up to this time.
        transport: Stands in for the network, an `httpx.BaseTransport`.

    Raises:
        ConfigurationError: *transport* is not of the library in use.
        NotSentError: A test is about to reach the production API.
    """

    def __init__(self, base_url: str, timeout: float, transport: object = None) -> None:
        _check_transport(transport, httpx.BaseTransport)
        _refuse_production_under_test(base_url, transport)
        self._base_url = base_url
        self._deadline = _Deadline(base_url, timeout)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=1)
        self._client: httpx.Client = httpx.Client(limits=limits, **_options(timeout, transport))

    sleep = staticmethod(time.sleep)

    def send(self, request: Request) -> Answer:
        """
        Post *request* and return the answer; redirects are answers too.

        Raises:
            TransportError: No answer came; the subclass says whether the request may have been taken.
        """
        with _translated(self._base_url, request):
            self._deadline.restart()
            response = self._client.send(_build(self._base_url, request, self._deadline.watch), stream=True)
            with closing(response):
                return _answer(response, self._read(response))

    def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) >= MAX_BODY:
                break
            self._deadline.left(NoAnswerError)
        return bytes(body[:MAX_BODY])

    def close(self) -> None:
        """
        Close the connection.
        """
        self._client.close()


class AsyncSender:
    """
    Same as `Sender`, but for one asyncio event loop, and *timeout* covers everything.

    Other event loops (trio) are not supported: the deadline is `asyncio.timeout`.
    """

    def __init__(self, base_url: str, timeout: float, transport: object = None) -> None:
        _check_transport(transport, httpx.AsyncBaseTransport)
        _refuse_production_under_test(base_url, transport)
        self._base_url = base_url
        self._timeout = timeout
        self._client: httpx.AsyncClient = httpx.AsyncClient(**_options(None, transport))

    sleep = staticmethod(asyncio.sleep)

    async def send(self, request: Request) -> Answer:
        """
        Same as `Sender.send`.
        """
        progress = _Progress()
        try:
            async with asyncio.timeout(self._timeout):
                with _translated(self._base_url, request):
                    response = await self._client.send(_build(self._base_url, request, progress.watch), stream=True)
                    async with aclosing(response):
                        return _answer(response, await _aread(response))
        except TimeoutError as error:
            raise progress.error(_too_late(self._base_url, self._timeout)) from error
        finally:
            await progress.abandon()

    async def aclose(self) -> None:
        """
        Close the connections.
        """
        await self._client.aclose()


class _Deadline(threading.local):
    """
    Holds a thread's running request to one total time, however slowly its answer drips in.

    The library's timeouts start anew with every read. Its `trace` extension hands out each network stream it opens;
    there every operation gets what is left of the total as its timeout.
    """

    def __init__(self, base_url: str, timeout: float) -> None:
        self._base_url = base_url
        self._timeout = timeout
        self._end = 0.0

    def restart(self) -> None:
        self._end = time.monotonic() + self._timeout

    def left(self, error: type[TransportError]) -> float:
        """
        Return the seconds left.

        Raises:
            TransportError: None are; it is an *error*.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise error(_too_late(self._base_url, self._timeout))
        return left

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            stream = info["return_value"]
            for name, positionals, error in _STREAM_OPERATIONS:
                setattr(stream, name, self._bounded(stream, getattr(stream, name), positionals, error))

    def _bounded(
        self, stream: Any, operation: Callable[..., Any], positionals: int, error: type[TransportError]
    ) -> Callable[..., Any]:
        def bounded(*args: Any, **kwargs: Any) -> Any:
            try:
                timeout = self.left(error)
            except TransportError:
                # The library leaves a stream open that fails before its TLS handshake.
                stream.close()
                raise
            return operation(*args[:positionals], **{**kwargs, "timeout": timeout})

        return bounded


#: Methods of the library's network stream, the arguments each has before `timeout`, and what their failure means.
_STREAM_OPERATIONS: Final = (
    ("read", 1, NoAnswerError),
    ("write", 1, NoAnswerError),
    ("start_tls", 2, NotSentError),
)


class _Progress:
    """
    Knows whether an asynchronous request is still being connected, so that running out of time means not sent.
    """

    def __init__(self) -> None:
        self._is_connecting = False
        self._stream: Any = None

    async def watch(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith("connect_tcp.started"):
            self._is_connecting = True
        elif event.endswith("connect_tcp.complete"):
            self._stream = info["return_value"]
        elif event.endswith("send_request_headers.started"):
            self._is_connecting = False

    async def abandon(self) -> None:
        """
        Close a connection that never came to its first byte.

        The library leaves it open when it is cancelled during the TLS handshake.
        """
        if self._is_connecting and self._stream is not None:
            await self._stream.aclose()

    def error(self, message: str) -> TransportError:
        return NotSentError(message) if self._is_connecting else NoAnswerError(message)


def _too_late(base_url: str, timeout: float) -> str:
    return f"{base_url}: no complete answer within {timeout:g} s"


async def _aread(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= MAX_BODY:
            break
    return bytes(body[:MAX_BODY])


def _options(timeout: float | None, transport: Any) -> dict[str, Any]:
    options = {"timeout": timeout, "transport": transport, "follow_redirects": False}
    return options if transport is not None else {**options, "verify": _ssl_context()}


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    # One for the process: reading the certificate authorities takes some 20 ms.
    return httpx.create_ssl_context()


def _build(base_url: str, request: Request, watch: Callable[..., Any]) -> httpx.Request:
    # Built without the client, whose cookie jar would answer one call with the cookies of another.
    return httpx.Request(
        "POST",
        base_url + request.path,
        headers={**_HEADERS, **request.headers},
        content=request.body,
        extensions={"trace": watch},
    )


#: An answer of 100 bytes gains nothing from compression.
_HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "User-Agent": f"remotion-licensing-integrations/{VERSION}",
}


def _answer(response: httpx.Response, body: bytes) -> Answer:
    return Answer(response.status_code, dict(response.headers), body)


@contextmanager
def _translated(base_url: str, request: Request) -> Generator[None]:
    try:
        yield
    except (httpx.RequestError, httpx.InvalidURL) as error:
        text = mask(str(error), request.secrets)
        # A server that is no HTTP server is quoted by the library; when it echoes the key, the cause stays out.
        cause = error if text == str(error) else None
        message = f"{base_url}: {text} ({type(error).__name__})"
        raise translate(error)(message) from cause


def translate(error: Exception) -> type[TransportError]:
    """
    Return the class of this package's error for one of the library's.
    """
    if _has_bad_certificate(error):
        return CertificateError
    return next(ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS)


def _has_bad_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check_transport(transport: object, kind: type) -> None:
    if transport is not None and not isinstance(transport, kind):
        msg = f"transport: expected an {httpx.__name__}.{kind.__name__}, got {transport!r:.80}"
        raise ConfigurationError(msg)


def _refuse_production_under_test(base_url: str, transport: object) -> None:
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    is_production = host == "remotion.pro" or host.endswith(".remotion.pro")
    if is_production and transport is None and is_test_run():
        msg = (
            f"{base_url}: no request leaves a test run for the production API; "
            "set base_url to a sandbox, or pass a transport"
        )
        raise NotSentError(msg)

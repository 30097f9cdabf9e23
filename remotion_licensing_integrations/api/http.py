"""
The one module that knows an HTTP library: `httpx2` when it is installed, else `httpx`.

It uses the library's transports, not its clients: their cookies, redirects and event hooks are unwanted here and cost
a quarter of a request. Import it on the first delivery, not before: loading the library takes tens of milliseconds.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import aclosing, closing, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .._support.masking import mask, mask_url
from .._support.testrun import is_test_run
from .._support.version import VERSION
from ..errors import CertificateError, ConfigurationError, NoAnswerError, NotSentError, TransportError
from .deadline import Deadline, Progress
from .protocol import Answer, Request

if TYPE_CHECKING:
    import httpx
else:
    try:
        import httpx2 as httpx
    except ModuleNotFoundError:
        import httpx

MAX_BODY: Final = 64 * 1024  # bytes, decompressed; the API's answers have some 100

_T = TypeVar("_T")

#: Errors before the first byte goes out. After any other error, known or new, the request counts as sent.
NOT_SENT: Final = (
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
    httpx.PoolTimeout,
    httpx.ConnectTimeout,
    httpx.ConnectError,
    httpx.ProxyError,
)


class Connection:
    """
    Moves requests and answers between one thread and the licensing API, over one kept-alive connection.

    Threads can share it safely, but then only one of their connections stays open.

    Args:
        base_url: Where the API is.
        timeout: Seconds for each `send`, from the connection to the answer's last byte. The operating system does two
            things before the first byte that are not cut short: it looks up a name, and it tries each address of a
            name with several for up to this time.
        transport: Stands in for the network, an `httpx.BaseTransport`; by default one that follows the environment's
            proxy variables.
        clock: In seconds.

    Raises:
        ConfigurationError: *transport* is not of the library in use.
        NotSentError: A test is about to reach the production API.
    """

    def __init__(
        self,
        base_url: str,
        timeout: float,
        transport: object = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeout = timeout
        self._base_url = base_url
        self._deadline = Deadline(base_url, clock=clock)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=1)
        self._transport = _check(base_url, transport, httpx.BaseTransport) or _reach(
            base_url, functools.partial(httpx.HTTPTransport, limits=limits)
        )

    sleep: Callable[[float], None] = staticmethod(time.sleep)

    def send(self, request: Request) -> Answer:
        """
        Post *request* and return the answer; redirects are answers too.

        Raises:
            TransportError: No answer came; the subclass says whether the request may have been taken.
        """
        with _translated(self._base_url, request):
            self._deadline.start(self.timeout)
            response = self._transport.handle_request(
                _build(self._base_url, request, self._deadline.watch, self.timeout)
            )
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
        self._transport.close()


class AsyncConnection:
    """
    Same as `Connection`, but for one asyncio event loop, and *timeout* covers everything.

    Other event loops (trio) are not supported: the deadline is `asyncio.timeout`.
    """

    def __init__(self, base_url: str, timeout: float, transport: object = None) -> None:
        self.timeout = timeout
        self._base_url = base_url
        self._transport = _check(base_url, transport, httpx.AsyncBaseTransport) or _reach(
            base_url, httpx.AsyncHTTPTransport
        )

    sleep: Callable[[float], Awaitable[None]] = staticmethod(asyncio.sleep)

    async def send(self, request: Request) -> Answer:
        """
        Same as `Connection.send`.
        """
        progress = Progress()
        try:
            async with asyncio.timeout(self.timeout):
                with _translated(self._base_url, request):
                    response = await self._transport.handle_async_request(
                        _build(self._base_url, request, progress.watch)
                    )
                    async with aclosing(response):
                        return _answer(response, await self._read(response))
        except TimeoutError as error:
            raise progress.error(self._base_url, self.timeout) from error
        finally:
            await progress.abandon()

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) >= MAX_BODY:
                break
        return bytes(body[:MAX_BODY])

    async def aclose(self) -> None:
        """
        Close the connections.
        """
        await self._transport.aclose()


def _reach(base_url: str, make: Callable[..., _T]) -> _T:
    proxy = _proxy(base_url)
    try:
        verify = _ssl_context()
        return make(verify=verify) if proxy is None else make(verify=verify, proxy=proxy)
    except OSError as error:
        msg = f"{base_url}: SSL_CERT_FILE or SSL_CERT_DIR cannot be read ({error})"
        raise NotSentError(msg) from error
    except ImportError as error:
        # A SOCKS proxy needs a package, which the library's error names
        # (tests/api/test_http.py::test_proxy_that_needs_a_package).
        msg = f"{base_url}: {error}"
        raise NotSentError(msg) from error
    except (httpx.InvalidURL, ValueError) as error:
        # Without the library's error, which quotes a part of the URL: a password that is not percent-encoded looks like
        # a port (tests/api/test_http.py::test_password_of_an_unusable_proxy).
        msg = f"{base_url}: the proxy {mask_url(proxy or '')!r} cannot be used ({type(error).__name__})"
        raise NotSentError(msg) from None


def _proxy(base_url: str) -> str | None:
    # Chosen like in the library's clients. `NO_PROXY` may name a host with and without its port.
    parts = urlsplit(base_url)
    if any(proxy_bypass(host) for host in (parts.netloc, parts.hostname or "")):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    # One for the process: reading the certificate authorities takes about 20 ms.
    return httpx.create_ssl_context()


def _build(base_url: str, request: Request, watch: Callable[..., Any], timeout: float | None = None) -> httpx.Request:
    return httpx.Request(
        "POST",
        _url(base_url + request.path),
        headers={**_HEADERS, **request.headers},
        content=request.body,
        extensions={"trace": watch, "timeout": dict.fromkeys(("connect", "read", "write", "pool"), timeout)},
    )


# Reading a URL takes as long as the rest of making a request.
_url: Final = functools.lru_cache(maxsize=16)(httpx.URL)

# An answer of 100 bytes gains nothing from compression.
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
        # The library quotes a server that does not speak HTTP; when the quote has the key, the cause is left out.
        cause = error if text == str(error) else None
        message = f"{base_url}: {text} ({type(error).__name__})"
        raise translate(error)(message) from cause


def translate(error: Exception) -> type[TransportError]:
    """
    Return the class of this package's errors for an *error* of the library.
    """
    if _has_bad_certificate(error):
        return CertificateError
    return NotSentError if isinstance(error, NOT_SENT) else NoAnswerError


def _has_bad_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check(base_url: str, transport: object, cls: type[_T]) -> _T | None:
    if transport is None:
        _refuse_production_under_test(base_url)
        return None
    if isinstance(transport, cls):
        return transport
    msg = f"transport: expected an {httpx.__name__}.{cls.__name__}, got {transport!r:.80}"
    raise ConfigurationError(msg)


def _refuse_production_under_test(base_url: str) -> None:
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    is_production = host == "remotion.pro" or host.endswith(".remotion.pro")
    if is_production and is_test_run():
        msg = (
            f"{base_url}: no request leaves a test run for the production API; "
            "set base_url to a sandbox, or pass a transport"
        )
        raise NotSentError(msg)

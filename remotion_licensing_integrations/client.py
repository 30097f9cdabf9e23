"""
Direct calls to Remotion's licensing API, synchronous and asynchronous.

They mirror the npm package `@remotion/licensing` and differ on purpose in four things: redirects are not followed
(they would carry the licence key elsewhere), missing answers are repeated, one attempt with its whole answer takes
`timeout` seconds at most, and errors carry status and body.
"""

from __future__ import annotations

import logging
import math
import re
from typing import TYPE_CHECKING, Final, Generic, Self, TypedDict, TypeVar, Unpack, cast, get_args
from urllib.parse import urlsplit

from ._forks import ForkLock
from .errors import ConfigurationError, TransportError
from .models import Registration, Usage, check_idempotency_key, new_idempotency_key
from .protocol import (
    IDEMPOTENCY_HEADER,
    REGISTER_PATH,
    USAGE_PATH,
    Answer,
    Request,
    mask,
    read_registration,
    read_usage,
    register_body,
    usage_body,
)
from .retry import client_delay
from .settings import DEFAULT_BASE_URL, MASK, Idempotency

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from ._http import AsyncSender, Sender

DEFAULT_TIMEOUT: Final = 10.0  # seconds
DEFAULT_MAX_ATTEMPTS: Final = 4

_log: Final = logging.getLogger("remotion_licensing_integrations")
_T = TypeVar("_T")

# A child forked while another thread imports finds modules that are half there and locked for ever; it would hang in
# its own first import of any of them. Even the library's client objects import on their first use.
_loading: Final = ForkLock()


class _Call(Generic[_T]):
    """
    One call: its request, the reading of its answer, and the attempts it has; no I/O.
    """

    def __init__(self, request: Request, read: Callable[[Answer], _T], *, max_attempts: int = 1) -> None:
        self.request = request
        self.read = read
        self._max_attempts = max_attempts
        self._attempt = 1

    def delay_after(self, error: TransportError) -> float | None:
        """
        Return the seconds to wait before the next attempt; `None` when there is none.
        """
        delay = client_delay(error, self._attempt, max_attempts=self._max_attempts)
        if delay is not None:
            _log.info(
                "Attempt %d of %d failed, next one in %g s: %s",
                self._attempt,
                self._max_attempts,
                delay,
                error,
                extra={"action": "repeat_call"},
            )
        self._attempt += 1
        return delay


class _Client:
    """
    What both clients share: options in, calls out.
    """

    def __init__(
        self,
        license_key: str | None = None,
        *,
        base_url: str = DEFAULT_BASE_URL,
        timeout: float = DEFAULT_TIMEOUT,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        idempotency: Idempotency = "body",
        transport: object = None,
    ) -> None:
        self._license_key = license_key
        self._base_url = _check_base_url(base_url)
        self._timeout = _check_timeout(timeout)
        self._max_attempts = _check_max_attempts(max_attempts)
        self._idempotency = _check_idempotency(idempotency)
        self._transport = transport
        self._is_closed = False

    def __repr__(self) -> str:
        key = None if self._license_key is None else MASK
        return f"{type(self).__name__}({key!r}, base_url={self._base_url!r}, timeout={self._timeout!r})"

    def _register_call(
        self,
        *,
        license_key: str | None,
        api_key: str | None,
        idempotency_key: str | None,
        event: str,
        host: str | None,
        succeeded: bool,
        is_still: bool,
        is_production: bool,
    ) -> _Call[Registration]:
        key = _first(license_key, api_key, self._license_key)
        idempotency_key = new_idempotency_key() if idempotency_key is None else check_idempotency_key(idempotency_key)
        body = register_body(
            license_key=key,
            event=event,
            host=host,
            succeeded=succeeded,
            is_still=is_still,
            is_production=is_production,
            idempotency_key=idempotency_key if self._idempotency == "body" else None,
        )
        headers = _idempotency_headers(idempotency_key) if self._idempotency == "header" else {}
        return _Call(
            Request(REGISTER_PATH, body, headers, secrets=(key,)),
            lambda answer: read_registration(*answer, secrets=(key,)),
            max_attempts=self._max_attempts,
        )

    def _usage_call(
        self, *, license_key: str | None, api_key: str | None, since: datetime | float | None
    ) -> _Call[Usage]:
        key = _first(license_key, api_key, self._license_key)
        request = Request(USAGE_PATH, usage_body(key, since), {}, secrets=(key,))
        return _Call(request, lambda answer: read_usage(*answer, secrets=(key,)))

    def _check_open(self) -> None:
        if self._is_closed:
            msg = f"{type(self).__name__} is closed"
            raise RuntimeError(msg)


class LicensingClient(_Client):
    """
    Client of the licensing API that keeps its connection between calls; a context manager.

    Every call goes over the connection of one client, so give each thread its own.

    Args:
        license_key: Key of calls that name none.
        base_url: Where the API is.
        timeout: Seconds one attempt may take, its answer included. The operating system's look-up of a name is not
            cut short.
        max_attempts: How often a usage point is sent when no answer comes, with pauses of 1, 2, 4 … seconds.
        idempotency: Where the idempotency key goes: `"body"`, `"header"`, or `"off"`, nowhere.
        transport: Stands in for the network in tests: a transport of `httpx2` when that is installed, else of `httpx`.

    Raises:
        ConfigurationError: An argument is unusable; the message names it.
    """

    _sender: Sender | None = None

    def register_usage_event(
        self,
        *,
        license_key: str | None = None,
        api_key: str | None = None,
        event: str,
        host: str | None,
        succeeded: bool,
        is_still: bool = False,
        is_production: bool = True,
        idempotency_key: str | None = None,
    ) -> Registration:
        """
        Register one usage point and return what the API makes of it.

        Only the idempotency key is validated; the rest goes out as it is, as in the npm package.

        Args:
            license_key: The public key, or `"free-license"`; an empty string counts as given.
            api_key: The older name of *license_key*, which wins over it.
            event: One of `models.EVENTS`.
            host: What `window.location.origin` is on the frontend, or `None`.
            succeeded: Whether the work succeeded; failures are not billed.
            is_still: Whether a still image was rendered instead of a video.
            is_production: Whether the point may be billed.
            idempotency_key: Names this point on every attempt, here and in later calls; by default a new one.

        Raises:
            TransportError: No answer came, on any attempt.
            APIError: The API did not take the point.
            ConfigurationError: *idempotency_key* is not 1 to 255 printable ASCII characters.
        """
        return self._run(
            self._register_call(
                license_key=license_key,
                api_key=api_key,
                event=event,
                host=host,
                succeeded=succeeded,
                is_still=is_still,
                is_production=is_production,
                idempotency_key=idempotency_key,
            )
        )

    register_usage_point = register_usage_event

    def get_usage(
        self,
        *,
        license_key: str | None = None,
        api_key: str | None = None,
        since: datetime | float | None = None,
    ) -> Usage:
        """
        Return what the API has counted; one attempt.

        Args:
            license_key: The private key.
            api_key: The older name of *license_key*, which wins over it.
            since: Aware moment or epoch milliseconds, at most 90 days ago; `None`: the start of this month in UTC.

        Raises:
            TransportError: No answer came.
            APIError: The API did not tell.
            ConfigurationError: *since* is naive or no moment at all.
        """
        return self._run(self._usage_call(license_key=license_key, api_key=api_key, since=since))

    def _run(self, call: _Call[_T]) -> _T:
        sender = self._open()
        while True:
            try:
                answer = sender.send(call.request)
            except TransportError as error:
                if (delay := call.delay_after(error)) is None:
                    raise
            else:
                return call.read(answer)
            sender.sleep(delay)

    def _open(self) -> Sender:
        self._check_open()
        if self._sender is None:
            with _loading:
                from ._http import Sender  # noqa: PLC0415 - the HTTP library loads on the first call, not at import

                self._sender = Sender(self._base_url, self._timeout, self._transport)
        return self._sender

    def close(self) -> None:
        """
        Close the connection; the client cannot be used any more.
        """
        self._is_closed = True
        if self._sender is not None:
            self._sender.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncLicensingClient(_Client):
    """
    Same as `LicensingClient`, but asynchronous, for the asyncio event loop it is first used in.

    Here *timeout* covers the look-up of the name too.
    """

    _sender: AsyncSender | None = None

    async def register_usage_event(
        self,
        *,
        license_key: str | None = None,
        api_key: str | None = None,
        event: str,
        host: str | None,
        succeeded: bool,
        is_still: bool = False,
        is_production: bool = True,
        idempotency_key: str | None = None,
    ) -> Registration:
        """
        Same as `LicensingClient.register_usage_event`.
        """
        return await self._run(
            self._register_call(
                license_key=license_key,
                api_key=api_key,
                event=event,
                host=host,
                succeeded=succeeded,
                is_still=is_still,
                is_production=is_production,
                idempotency_key=idempotency_key,
            )
        )

    register_usage_point = register_usage_event

    async def get_usage(
        self,
        *,
        license_key: str | None = None,
        api_key: str | None = None,
        since: datetime | float | None = None,
    ) -> Usage:
        """
        Same as `LicensingClient.get_usage`.
        """
        return await self._run(self._usage_call(license_key=license_key, api_key=api_key, since=since))

    async def _run(self, call: _Call[_T]) -> _T:
        sender = self._open()
        while True:
            try:
                answer = await sender.send(call.request)
            except TransportError as error:
                if (delay := call.delay_after(error)) is None:
                    raise
            else:
                return call.read(answer)
            await sender.sleep(delay)

    def _open(self) -> AsyncSender:
        self._check_open()
        if self._sender is None:
            from ._http import AsyncSender  # noqa: PLC0415 - the HTTP library loads on the first call, not at import

            self._sender = AsyncSender(self._base_url, self._timeout, self._transport)
        return self._sender

    async def aclose(self) -> None:
        """
        Same as `LicensingClient.close`.
        """
        self._is_closed = True
        if self._sender is not None:
            await self._sender.aclose()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()


class ClientOptions(TypedDict, total=False):
    """
    The keywords of `LicensingClient` that the module's functions pass on to it.
    """

    base_url: str
    timeout: float
    max_attempts: int
    idempotency: Idempotency
    transport: object


def register_usage_event(
    *,
    license_key: str | None = None,
    api_key: str | None = None,
    event: str,
    host: str | None,
    succeeded: bool,
    is_still: bool = False,
    is_production: bool = True,
    idempotency_key: str | None = None,
    **options: Unpack[ClientOptions],
) -> Registration:
    """
    Same as `LicensingClient.register_usage_event`, but with a connection of its own.
    """
    with LicensingClient(**options) as client:
        return client.register_usage_event(
            license_key=license_key,
            api_key=api_key,
            event=event,
            host=host,
            succeeded=succeeded,
            is_still=is_still,
            is_production=is_production,
            idempotency_key=idempotency_key,
        )


register_usage_point = register_usage_event


def get_usage(
    *,
    license_key: str | None = None,
    api_key: str | None = None,
    since: datetime | float | None = None,
    **options: Unpack[ClientOptions],
) -> Usage:
    """
    Same as `LicensingClient.get_usage`, but with a connection of its own.
    """
    with LicensingClient(**options) as client:
        return client.get_usage(license_key=license_key, api_key=api_key, since=since)


async def aregister_usage_event(
    *,
    license_key: str | None = None,
    api_key: str | None = None,
    event: str,
    host: str | None,
    succeeded: bool,
    is_still: bool = False,
    is_production: bool = True,
    idempotency_key: str | None = None,
    **options: Unpack[ClientOptions],
) -> Registration:
    """
    Same as `register_usage_event`, but asynchronous.
    """
    async with AsyncLicensingClient(**options) as client:
        return await client.register_usage_event(
            license_key=license_key,
            api_key=api_key,
            event=event,
            host=host,
            succeeded=succeeded,
            is_still=is_still,
            is_production=is_production,
            idempotency_key=idempotency_key,
        )


aregister_usage_point = aregister_usage_event


async def aget_usage(
    *,
    license_key: str | None = None,
    api_key: str | None = None,
    since: datetime | float | None = None,
    **options: Unpack[ClientOptions],
) -> Usage:
    """
    Same as `get_usage`, but asynchronous.
    """
    async with AsyncLicensingClient(**options) as client:
        return await client.get_usage(license_key=license_key, api_key=api_key, since=since)


def _first(*keys: str | None) -> str | None:
    return next((key for key in keys if key is not None), None)


def _idempotency_headers(key: str) -> dict[str, str]:
    if key != key.strip():
        msg = f"idempotency_key: a header cannot begin or end with a space, got {key!r}"
        raise ConfigurationError(msg)
    return {IDEMPOTENCY_HEADER: key}


def _check_base_url(value: object) -> str:
    if isinstance(value, str) and _is_base_url(value):
        return value.rstrip("/")
    # Whatever stands before an @ may be a password.
    shown = mask(re.sub(".*@", f"{MASK}@", repr(value), flags=re.DOTALL))
    msg = f"base_url: expected an http(s) URL without user, query or fragment, got {shown:.120}"
    raise ConfigurationError(msg)


def _is_base_url(value: str) -> bool:
    if not value.isascii() or not value.isprintable() or not set(" @?#").isdisjoint(value):
        return False
    try:
        parts = urlsplit(value)
        # Labels that are empty or too long fail here, not deep in the look-up of the name.
        (parts.hostname or "").encode("idna")
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_timeout(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return value
    msg = f"timeout: expected a positive number of seconds, got {value!r:.80}"
    raise ConfigurationError(msg)


def _check_max_attempts(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    msg = f"max_attempts: expected a whole number from 1, got {value!r:.80}"
    raise ConfigurationError(msg)


def _check_idempotency(value: object) -> Idempotency:
    for known in get_args(Idempotency):
        if value == known:
            return cast("Idempotency", known)
    msg = f"idempotency: expected 'body', 'header' or 'off', got {value!r:.80}"
    raise ConfigurationError(msg)

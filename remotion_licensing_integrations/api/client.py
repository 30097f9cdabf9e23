"""
Direct calls to Remotion's licensing API, synchronous and asynchronous.

They mirror the npm package `@remotion/licensing` and differ on purpose in four things: redirects are not followed
(they would carry the licence key elsewhere), missing answers are repeated, one attempt with its whole answer takes
`timeout` seconds at most, and errors carry status and body.
"""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar, Unpack

from .._support.forks import ForkLock
from ..errors import TransportError
from ..points import Event, Registration, Usage
from .calls import Call, Caller, EventCall, OneEventCall, OneUsageCall, UsageCall, take_options

if TYPE_CHECKING:
    from .http import AsyncConnection, Connection

_T = TypeVar("_T")

# A fork waits for it. Otherwise a child forked while another thread imports would inherit half-loaded modules, locked
# forever, and hang at its own first import of any of them. The HTTP library's objects also import on their first use.
_loading: Final = ForkLock()


class LicensingClient(Caller):
    """
    Client of the licensing API that keeps its connection between calls; a context manager.

    Every call goes over the connection of one client, so give each thread its own.

    Args:
        license_key: Key of calls that name none.
        base_url: Where the API is.
        timeout: Seconds that one attempt may take, including the whole answer. The operating system's name lookup is
            not cut short.
        max_attempts: How often a usage point is sent when no answer comes, with pauses of 1, 2, 4 … seconds.
        idempotency: Where the idempotency key is sent: `"body"`, `"header"`, or `"off"` for nowhere.
        transport: Stands in for the network in tests: a transport of `httpx2` when that is installed, else of `httpx`.

    Raises:
        ConfigurationError: An argument is unusable; the message names it.
    """

    _connection: Connection | None = None

    def register_usage_event(
        self,
        *,
        license_key: str | None = None,
        api_key: str | None = None,
        event: Event,
        host: str | None,
        succeeded: bool,
        is_still: bool = False,
        is_production: bool = True,
        idempotency_key: str | None = None,
    ) -> Registration:
        """
        Register one usage point and return the API's answer.

        Only the idempotency key is validated; the rest goes out as it is, as in the npm package.

        Args:
            license_key: The public key, or `"free-license"`; an empty string counts as a key.
            api_key: The older name of *license_key*, which wins over it.
            event: `"web-render"` or `"cloud-render"`.
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
            self._event_call(
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
            since: Aware datetime or epoch milliseconds, at most 90 days ago; `None`: the start of this month in UTC.

        Raises:
            TransportError: No answer came.
            APIError: The API answered without counts.
            ConfigurationError: *since* is neither an aware datetime nor a number.
        """
        return self._run(self._usage_call(license_key=license_key, api_key=api_key, since=since))

    def _run(self, call: Call[_T]) -> _T:
        connection = self._open()
        while True:
            try:
                answer = connection.send(call.request)
            except TransportError as error:
                if (delay := call.delay_after(error)) is None:
                    raise
            else:
                return call.read(answer)
            connection.sleep(delay)

    def _open(self) -> Connection:
        self._check_open()
        if self._connection is None:
            with _loading:
                from .http import Connection  # noqa: PLC0415 - the HTTP library loads on the first call, not at import

                self._connection = Connection(self._base_url, self._timeout, self._transport)
        return self._connection

    def close(self) -> None:
        """
        Close the connection; the client cannot be used any more.
        """
        self._is_closed = True
        if self._connection is not None:
            self._connection.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncLicensingClient(Caller):
    """
    Same as `LicensingClient`, but asynchronous, for the asyncio event loop it is first used in.

    Here *timeout* also covers the name lookup.
    """

    _connection: AsyncConnection | None = None

    async def register_usage_event(self, **call: Unpack[EventCall]) -> Registration:
        """
        Same as `LicensingClient.register_usage_event`.
        """
        return await self._run(self._event_call(**call))

    register_usage_point = register_usage_event

    async def get_usage(self, **call: Unpack[UsageCall]) -> Usage:
        """
        Same as `LicensingClient.get_usage`.
        """
        return await self._run(self._usage_call(**call))

    async def _run(self, call: Call[_T]) -> _T:
        connection = self._open()
        while True:
            try:
                answer = await connection.send(call.request)
            except TransportError as error:
                if (delay := call.delay_after(error)) is None:
                    raise
            else:
                return call.read(answer)
            await connection.sleep(delay)

    def _open(self) -> AsyncConnection:
        self._check_open()
        if self._connection is None:
            from .http import AsyncConnection  # noqa: PLC0415 - the HTTP library loads on the first call, not at import

            self._connection = AsyncConnection(self._base_url, self._timeout, self._transport)
        return self._connection

    async def aclose(self) -> None:
        """
        Same as `LicensingClient.close`.
        """
        self._is_closed = True
        if self._connection is not None:
            await self._connection.aclose()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()


def register_usage_event(**call: Unpack[OneEventCall]) -> Registration:
    """
    Same as `LicensingClient.register_usage_event`, but over a new connection; takes the client's options too.
    """
    options, fields = take_options(call)
    with LicensingClient(**options) as client:
        return client.register_usage_event(**fields)


register_usage_point = register_usage_event


def get_usage(**call: Unpack[OneUsageCall]) -> Usage:
    """
    Same as `LicensingClient.get_usage`, but over a new connection; takes the client's options too.
    """
    options, fields = take_options(call)
    with LicensingClient(**options) as client:
        return client.get_usage(**fields)


async def aregister_usage_event(**call: Unpack[OneEventCall]) -> Registration:
    """
    Same as `register_usage_event`, but asynchronous.
    """
    options, fields = take_options(call)
    async with AsyncLicensingClient(**options) as client:
        return await client.register_usage_event(**fields)


aregister_usage_point = aregister_usage_event


async def aget_usage(**call: Unpack[OneUsageCall]) -> Usage:
    """
    Same as `get_usage`, but asynchronous.
    """
    options, fields = take_options(call)
    async with AsyncLicensingClient(**options) as client:
        return await client.get_usage(**fields)

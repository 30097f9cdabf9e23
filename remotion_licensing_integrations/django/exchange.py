"""
One request and its response on the way through the middleware.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from ..points import UsagePoint
from ..recording import UsageRecorder
from ..usage import PendingUsage, Settle
from .origins import resolve_request_host

logger: Final = logging.getLogger("remotion_licensing_integrations")


class Exchange:
    """
    Settles and records the usage point of *request*; a licensing mistake is logged and never reaches the response.
    """

    def __init__(self, request: HttpRequest, recorder: UsageRecorder) -> None:
        self.request = request
        self.usage = PendingUsage(recorder, lambda: resolve_request_host(request, recorder))
        self._recorder = recorder

    def record(self, settle: Settle, status: int = 0) -> None:
        """
        Settle, and commit the point if there is one.
        """
        try:
            point = self._settled(settle, status)
            if point is not None:
                self._recorder.record(point)
        except Exception:  # noqa: BLE001 - whatever it is, the response goes on
            _report()

    async def arecord(self, settle: Settle, status: int = 0) -> None:
        """
        Same as `record`, but lets the event loop run meanwhile.
        """
        try:
            point = self._settled(settle, status)
            if point is not None:
                await self._recorder.arecord(point)
        except Exception:  # noqa: BLE001 - whatever it is, the response goes on
            _report()

    def goes_on_in(self, response: HttpResponseBase) -> bool:
        """
        Whether the outcome is known only when the body of *response* has been sent.

        Not for a file: it exists already, and a wrapped one could not be handed to the server whole.
        """
        return response.streaming and not isinstance(response, FileResponse)

    def watch(self, response: StreamingHttpResponse) -> None:
        """
        Settle when the body of *response* ends, breaks off, or is closed early.
        """
        body: Any = response.streaming_content
        watched = _AsyncBody if response.is_async else _Body
        response.streaming_content = watched(self, body, response.status_code)

    def deliver_after(self, response: HttpResponseBase) -> None:
        """
        Deliver when the server closes *response*, where neither a thread nor another process does.
        """
        if self._recorder.settings.delivery == "inline":
            run_after(response, self._recorder.deliver_inline)

    def _settled(self, settle: Settle, status: int) -> UsagePoint | None:
        return None if self.usage.settled else settle(self.request.method or "", status)


def run_after(response: HttpResponseBase, work: Callable[[], object]) -> None:
    """
    Have *work* done when the server closes *response*, after its last byte.
    """
    # What Django closes after the body; a signal would not say which response it is of.
    closers: list[Callable[[], object]] = response._resource_closers  # type: ignore[attr-defined] # noqa: SLF001 - as above
    closers.append(work)


def _report() -> None:
    # Called from handlers of exceptions only.
    logger.exception("A usage point met an unexpected error.", extra={"action": "record_crashed"})  # noqa: LOG004 - see above


class _Body:
    # A class, not a generator: closing a generator that was never started runs none of its code.

    def __init__(self, exchange: Exchange, body: Iterator[Any], status: int) -> None:
        self._exchange = exchange
        self._body = iter(body)
        self._status = status

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._body)
        except StopIteration:
            self._exchange.record(self._exchange.usage.complete, self._status)
            raise
        except BaseException:
            self._exchange.record(self._exchange.usage.fail, self._status)
            raise

    def close(self) -> None:
        # The original body is closed by the response, which keeps it among its closers.
        self._exchange.record(self._exchange.usage.abort, self._status)


class _AsyncBody:
    # Same as `_Body`, for a body that an event loop sends.

    def __init__(self, exchange: Exchange, body: AsyncIterator[Any], status: int) -> None:
        self._exchange = exchange
        self._body = aiter(body)
        self._status = status

    def __aiter__(self) -> _AsyncBody:
        return self

    async def __anext__(self) -> Any:
        usage = self._exchange.usage
        try:
            return await anext(self._body)
        except StopAsyncIteration:
            await self._exchange.arecord(usage.complete, self._status)
            raise
        except asyncio.CancelledError:
            await self._exchange.arecord(usage.abort, self._status)
            raise
        except BaseException:
            await self._exchange.arecord(usage.fail, self._status)
            raise

    def close(self) -> None:
        self._exchange.record(self._exchange.usage.abort, self._status)

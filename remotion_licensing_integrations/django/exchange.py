"""
One request and its response on the way through the middleware.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from ..points import ResolvedHost
from ..recording import UsageRecorder
from ..usage import Settlement
from .origins import resolve_request_host


class Exchange(Settlement):
    """
    The settlement of *request*.
    """

    def __init__(self, recorder: UsageRecorder, request: HttpRequest) -> None:
        super().__init__(recorder)
        self.method = request.method or ""
        self.request = request

    def find_host(self) -> ResolvedHost:
        """
        Return the page's origin by Django's own rules.
        """
        return resolve_request_host(self.request, self.recorder)

    def ends_with(self, response: HttpResponseBase) -> bool:
        """
        Whether the outcome is known before the body of *response* has been sent; if not, the body is watched.

        It is for a file, which exists already: a wrapped one could not be handed to the server whole.
        """
        streams = response.streaming and not isinstance(response, FileResponse)
        if streams:
            stream = cast("StreamingHttpResponse", response)
            body: Any = stream.streaming_content
            stream.streaming_content = (_AsyncBody if stream.is_async else _Body)(self, body, stream.status_code)
        if self.recorder.settings.delivery == "inline":
            run_after(response, self.recorder.deliver_inline)
        return not streams


def run_after(response: HttpResponseBase, work: Callable[[], object]) -> None:
    """
    Have *work* done when the server closes *response*, after its last byte.
    """
    # What Django closes after the body; a signal would not say which response it is of.
    closers: list[Callable[[], object]] = response._resource_closers  # type: ignore[attr-defined] # noqa: SLF001 - no public way
    closers.append(work)


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
        except BaseException as error:
            self._exchange.record("whole" if isinstance(error, StopIteration) else "failed", self._status)
            raise

    def close(self) -> None:
        # The original body is closed by the response, which keeps it among its closers.
        self._exchange.record("aborted", self._status)


class _AsyncBody:
    # Same as `_Body`, for a body that an event loop sends.

    def __init__(self, exchange: Exchange, body: AsyncIterator[Any], status: int) -> None:
        self._exchange = exchange
        self._body = aiter(body)
        self._status = status

    def __aiter__(self) -> _AsyncBody:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._body)
        except StopAsyncIteration:
            await self._exchange.arecord("whole", self._status)
            raise
        except BaseException as error:
            gone = isinstance(error, asyncio.CancelledError)
            await self._exchange.arecord("aborted" if gone else "failed", self._status)
            raise

    def close(self) -> None:
        self._exchange.record("aborted", self._status)

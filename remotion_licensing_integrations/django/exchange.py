"""
Settles one request by watching its response.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, cast

from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from ..points import OriginHeaders, ResolvedHost
from ..recording import UsageRecorder
from ..usage import Settlement
from .origins import find_own_origin


class Exchange(Settlement):
    """
    The settlement of *request*.
    """

    def __init__(self, recorder: UsageRecorder, request: HttpRequest) -> None:
        super().__init__(recorder)
        self.method: str = request.method or ""
        self.request = request

    def find_host(self) -> ResolvedHost:
        """
        Return the page's origin by Django's own rules.
        """
        # Not `request.headers`, whose first use reads all headers.
        headers = OriginHeaders.from_environ(self.request.META)
        return self.choose_host(headers, lambda: find_own_origin(self.request))

    def ends_with(self, response: HttpResponseBase) -> bool:
        """
        Whether the outcome is known before the body of *response* has been sent; if not, watch the body.

        The outcome of a file is known, because it exists already: the server could not send a wrapped file by itself.
        """
        streams = response.streaming and not isinstance(response, FileResponse)
        if streams:
            stream = cast("StreamingHttpResponse", response)
            body: Any = stream.streaming_content
            watch: Any = self._awatch if stream.is_async else self._watch
            stream.streaming_content = watch(body, stream.status_code)
            # Not in the watched body: closing a generator that was never started runs none of its code.
            run_after(response, partial(self.record, "aborted", stream.status_code))
        if self.recorder.settings.delivery == "inline":
            run_after(response, self.recorder.deliver_inline)
        return not streams

    def _watch(self, body: Iterator[Any], status: int) -> Iterator[Any]:
        try:
            yield from body
        except Exception:
            self.record("failed", status)
            raise
        self.record("whole", status)

    async def _awatch(self, body: AsyncIterator[Any], status: int) -> AsyncIterator[Any]:
        try:
            async for part in body:
                yield part
        except asyncio.CancelledError:
            await self.arecord("aborted", status)
            raise
        except Exception:
            await self.arecord("failed", status)
            raise
        await self.arecord("whole", status)


def run_after(response: HttpResponseBase, work: Callable[[], object]) -> None:
    """
    Do *work* when the server closes *response*, after its last byte.
    """
    # Django closes these after the body; a signal would not say which response has ended.
    closers: list[Callable[[], object]] = response._resource_closers  # type: ignore[attr-defined] # noqa: SLF001 - no public way
    closers.append(work)

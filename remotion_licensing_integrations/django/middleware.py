"""
The middleware for Django's `MIDDLEWARE`, synchronous and asynchronous in one class.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from ..usage import CURRENT
from .exchange import Exchange
from .recorder import get_recorder

# A second middleware of ours leaves the request to the first.
_ATTRIBUTE: Final = "_remotion_usage"


class UsageMiddleware:
    """
    Records a usage point for each finished request to a decorated view; best placed last in `MIDDLEWARE`.

    Raises:
        ConfigurationError: `REMOTION_LICENSING` is unusable; raised when the project starts.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        get_recorder()
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """
        Serve one request.
        """
        if hasattr(request, _ATTRIBUTE):
            return cast("HttpResponseBase", self.get_response(request))
        exchange = Exchange(request, get_recorder())
        setattr(request, _ATTRIBUTE, True)
        return self._acall(exchange) if self._is_async else self._call(exchange)

    def _call(self, exchange: Exchange) -> HttpResponseBase:
        token = CURRENT.set(exchange.usage)
        try:
            response: HttpResponseBase = self.get_response(exchange.request)
        except BaseException:
            exchange.record(exchange.usage.fail)
            raise
        finally:
            CURRENT.reset(token)
        if not exchange.usage.counts:
            return response
        if exchange.goes_on_in(response):
            exchange.watch(cast("StreamingHttpResponse", response))
        else:
            exchange.record(exchange.usage.complete, response.status_code)
        exchange.deliver_after(response)
        return response

    async def _acall(self, exchange: Exchange) -> HttpResponseBase:
        token = CURRENT.set(exchange.usage)
        try:
            response: HttpResponseBase = await self.get_response(exchange.request)
        except asyncio.CancelledError:
            # The client has gone. A synchronous view goes on in its thread all the same, and settles when it ends.
            if not exchange.usage.abandon(exchange.record):
                await exchange.arecord(exchange.usage.abort)
            raise
        except BaseException:
            await exchange.arecord(exchange.usage.fail)
            raise
        finally:
            CURRENT.reset(token)
        if not exchange.usage.counts:
            return response
        if exchange.goes_on_in(response):
            exchange.watch(cast("StreamingHttpResponse", response))
        else:
            await exchange.arecord(exchange.usage.complete, response.status_code)
        exchange.deliver_after(response)
        return response

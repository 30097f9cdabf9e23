"""
The middleware for Django's `MIDDLEWARE`, synchronous and asynchronous in one class.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from ..usage import CURRENT
from .exchange import Exchange
from .recorder import get_recorder

# A second middleware of ours leaves the request to the first.
_ATTRIBUTE: Final = "_remotion_usage"


class UsageMiddleware:
    """
    Records a usage point for each finished request to a decorated view; place it last in `MIDDLEWARE`.

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
        exchange = Exchange(get_recorder(), request)
        get_recorder.attend()  # not in `__init__`, which a server may run before it forks
        setattr(request, _ATTRIBUTE, True)
        return self._acall(exchange) if self._is_async else self._call(exchange)

    def _call(self, exchange: Exchange) -> HttpResponseBase:
        token = CURRENT.set(exchange)
        try:
            response: HttpResponseBase = self.get_response(exchange.request)
        except BaseException:
            exchange.record("failed")
            raise
        finally:
            CURRENT.reset(token)
        if exchange.may_count and exchange.ends_with(response):
            exchange.record("whole", response.status_code)
        return response

    async def _acall(self, exchange: Exchange) -> HttpResponseBase:
        token = CURRENT.set(exchange)
        try:
            response: HttpResponseBase = await self.get_response(exchange.request)
        except asyncio.CancelledError:
            # The client has gone. A synchronous view still runs in its thread, and settles when it ends.
            if not exchange.abandon():
                await exchange.arecord("aborted")
            raise
        except BaseException:
            await exchange.arecord("failed")
            raise
        finally:
            CURRENT.reset(token)
        if exchange.may_count and exchange.ends_with(response):
            await exchange.arecord("whole", response.status_code)
        return response

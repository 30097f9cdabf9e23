"""
For aiohttp: `web.Application(middlewares=[usage_middleware(license_key=…)])` and `@usage_point("cloud-render")`.

The usage point is committed before the last byte: of a `Response` before it is prepared, of a `StreamResponse` when its
handler has ended and aiohttp is about to write the end. A stream that announces its length is over for the client
earlier; an adapter for this package would count the bytes, as `wsgi.py` does, and deliver by itself with
`delivery="inline"`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Unpack

from aiohttp import web

from remotion_licensing_integrations.points import Event, OriginHeaders, ResolvedHost, own_origin
from remotion_licensing_integrations.recording import UsageRecorder, make_recorder, offer_default_recorder
from remotion_licensing_integrations.settings import Settings, SettingsFields
from remotion_licensing_integrations.usage import CURRENT, EndpointRules, Settlement, current_usage, usage_point

__all__ = ["current_usage", "set_up_usage", "usage_point"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def set_up_usage(
    app: web.Application,
    *,
    settings: Settings | None = None,
    recorder: UsageRecorder | None = None,
    endpoints: Mapping[str, Event] | None = None,
    **fields: Unpack[SettingsFields],
) -> UsageRecorder:
    """
    Record a usage point for each finished request of *app* to a decorated handler, and return the recorder.

    Call it when other middleware has been added, so that ours is the innermost. The arguments are those of the other
    adapters.
    """
    used = make_recorder(settings, recorder, fields)
    rules = EndpointRules(endpoints or {})
    offer_default_recorder(used)

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = _Exchange(used, request)
        options = rules.match(request.method, request.path, request.path) if rules else None
        if options is not None:
            exchange.apply(options)
        token = CURRENT.set(exchange)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            await exchange.arecord("whole", error.status)
            raise
        except (asyncio.CancelledError, ConnectionError):
            await exchange.arecord("aborted")
            raise
        except BaseException:
            await exchange.arecord("failed")
            raise
        finally:
            CURRENT.reset(token)
        await exchange.arecord("whole", response.status)
        return response

    app.middlewares.append(count)  # the last one is the innermost
    app.cleanup_ctx.append(lambda _: _run(used))
    return used


async def _run(recorder: UsageRecorder) -> AsyncIterator[None]:
    await asyncio.to_thread(recorder.start)
    yield
    await asyncio.to_thread(recorder.stop)


class _Exchange(Settlement):
    """
    One request; the decorator, which finds it by `CURRENT`, gives it its event.
    """

    def __init__(self, recorder: UsageRecorder, request: web.Request) -> None:
        super().__init__(recorder)
        self.method = request.method
        self._request = request

    def find_host(self) -> ResolvedHost:
        """
        Return the page's origin from the request's headers.
        """
        headers = OriginHeaders.from_asgi(self._request.raw_headers)
        return self.choose_host(headers, lambda: own_origin(self._request.scheme, headers.host))

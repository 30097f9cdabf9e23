"""
The app of the site: a request is several conversions, and answers with their keys once all are durable.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from remotion_licensing_integrations import UsagePoint, UsageRecorder, conversion, default_recorder
from remotion_licensing_integrations.recording import recorder as recorder_module
from remotion_licensing_integrations.starlette import UsageMiddleware

from .api import DEFERRED, to_host

# Past 0.25 s a response does not wait for its commit, on purpose. Then its keys would be no proof of anything.
recorder_module.COMMIT_WAIT = float(os.environ["SOAK_COMMIT_WAIT"])  # type: ignore[misc] # a constant elsewhere


async def convert(request: Request) -> JSONResponse:
    """
    Convert the pieces of work from `first` on.
    """
    first, number = (int(request.query_params[name]) for name in ("first", "number"))
    return JSONResponse(await asyncio.gather(*(_convert(work) for work in range(first, first + number))))


async def _convert(work: int) -> str:
    if work % DEFERRED == 0:
        point = UsagePoint(event="cloud-render", host=to_host(work), succeeded=None)
        await default_recorder().arecord(point)
        await default_recorder().arecord(replace(point, succeeded=True))
        return point.idempotency_key
    async with conversion("cloud-render", host=to_host(work)) as usage:
        return usage.idempotency_key


async def health(_: Request) -> JSONResponse:
    """
    Answer.
    """
    return JSONResponse({})


app = Starlette(
    routes=[Route("/convert", convert, methods=["POST"]), Route("/health", health)],
    middleware=[Middleware(UsageMiddleware, recorder=UsageRecorder())],
)

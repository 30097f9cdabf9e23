"""
The app of one variant, for `uvicorn --factory`; the variant and its folder come from the environment.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from remotion_licensing_integrations import Settings, UsageRecorder
from remotion_licensing_integrations.asgi import UsageMiddleware

from .asgi import no_op

API = f"http://127.0.0.1:{os.environ.get('BENCH_API')}"
_late: list[float] = []  # milliseconds


def make() -> Any:
    """
    Return the app.
    """
    return _VARIANTS[os.environ["BENCH_APP"]]()


def _app(convert: Callable[[Request], Any] | None = None, recorder: UsageRecorder | None = None) -> Starlette:
    async def endpoint(_: Request) -> JSONResponse:
        return JSONResponse({"url": "/video.mp4"})

    async def points(_: Request) -> JSONResponse:
        if recorder is None:
            return JSONResponse({"stored": 0, "pending": 0})
        stored = (await asyncio.to_thread(recorder.counts)).stored
        return JSONResponse({"stored": stored.pending + stored.registered, "pending": stored.pending})

    routes = [Route(f"/other/{number}", endpoint) for number in range(10)]
    routes += [Route("/convert", convert or endpoint, methods=["POST"]), Route("/points", points), Route("/lag", _lag)]
    return Starlette(routes=routes, lifespan=_watching)


async def _lag(_: Request) -> JSONResponse:
    late, _late[:] = sorted(_late), []
    return JSONResponse({"p99": late[len(late) * 99 // 100] if late else 0.0})


@asynccontextmanager
async def _watching(_: Starlette) -> AsyncIterator[None]:
    async def watch() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.005)
            _late.append((time.perf_counter() - start - 0.005) * 1e3)

    task = asyncio.create_task(watch())
    yield
    task.cancel()


def _ours(delivery: Any) -> Callable[[], Any]:
    def make_ours() -> Any:
        outbox, spill = (f"sqlite:///{os.environ['BENCH_FOLDER']}/{name}.sqlite3" for name in ("usage", "spill"))
        settings = Settings(license_key="rm_pub_bench", base_url=API, outbox=outbox, spill=spill, delivery=delivery)
        recorder = UsageRecorder(settings)
        app = _app(recorder=recorder)
        app.add_middleware(UsageMiddleware, recorder=recorder, endpoints={"POST /convert": "cloud-render"})
        return app

    return make_ours


def _opentelemetry() -> Any:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware  # noqa: PLC0415 - of this variant only
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - of this variant only
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult  # noqa: PLC0415 - of this variant only

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002 - it drops them
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return OpenTelemetryMiddleware(_app(), tracer_provider=provider)


def _sentry() -> Any:
    import sentry_sdk  # noqa: PLC0415 - of this variant only

    from .variants.sentry import Nowhere  # noqa: PLC0415 - of this variant only

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Nowhere, traces_sample_rate=1.0)
    return _app()


def _background() -> Any:
    import httpx  # noqa: PLC0415 - of this variant only

    client = httpx.AsyncClient()

    async def report() -> None:
        await client.post(f"{API}/api/track/register-usage-point", json={"event": "cloud-render", "succeeded": True})

    async def convert(_: Request) -> JSONResponse:
        return JSONResponse({"url": "/video.mp4"}, background=BackgroundTask(report))

    return _app(convert)


_VARIANTS: dict[str, Callable[[], Any]] = {
    "bare": _app,
    "noop": lambda: no_op(_app()),
    "off": _ours("off"),
    "worker": _ours("worker"),
    "opentelemetry": _opentelemetry,
    "sentry": _sentry,
    "background": _background,
}

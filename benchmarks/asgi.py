"""
What requests to an ASGI app pay.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from remotion_licensing_integrations import Settings, UsageRecorder, usage_point
from remotion_licensing_integrations.asgi import UsageMiddleware

from .common import report

ROUNDS = 200
AT_ONCE = 50  # requests


def app_of(messages: int, work: Callable[[], Awaitable[None]] | None = None) -> Any:
    """
    An ASGI app that answers with *messages* body messages.
    """
    start = {"type": "http.response.start", "status": 200, "headers": []}
    more = {"type": "http.response.body", "body": b"x", "more_body": True}

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        if work is not None:
            await work()
        await send(start)
        for _ in range(messages - 1):
            await send(more)
        await send({"type": "http.response.body", "body": b"x"})

    return app


def no_op(app: Any) -> Any:
    """
    A middleware that wraps `send` and does nothing.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def forward(message: Any) -> None:
            await send(message)

        await app(scope, receive, forward)

    return wrapped


async def send_nowhere(_: Any) -> None:
    """
    A server that takes everything.
    """


async def request(app: Any) -> None:
    """
    Serve one request.
    """
    headers = [(b"host", b"myapp.com"), (b"origin", b"https://myapp.com")]
    scope = {"type": "http", "method": "POST", "path": "/convert", "headers": headers, "scheme": "https"}
    await app(scope, None, send_nowhere)


async def serve(app: Any, requests: int) -> float:
    """
    Return the microseconds a request takes, one at a time.
    """
    start = time.perf_counter()
    for _ in range(requests):
        await request(app)
    return (time.perf_counter() - start) / requests * 1e6


async def serve_together(app: Any, requests: int) -> float:
    """
    Same as `serve`, but all at once.
    """
    start = time.perf_counter()
    await asyncio.gather(*(request(app) for _ in range(requests)))
    return (time.perf_counter() - start) / requests * 1e6


def compare(apps: dict[str, Any], requests: int) -> dict[str, float]:
    """
    Return the median microseconds of each app, taken in turns.
    """
    samples: dict[str, list[float]] = {name: [] for name in apps}
    with asyncio.Runner() as runner:
        for _ in range(ROUNDS):
            for name, app in apps.items():
                samples[name].append(runner.run(serve(app, requests)))
    return {name: statistics.median(values) for name, values in samples.items()}


def bench_other_routes(folder: Path) -> None:
    """
    What an endpoint that is not decorated pays.
    """
    for messages, requests in ((1, 50), (64, 10)):
        app = app_of(messages)
        recorder = UsageRecorder(Settings(license_key="rm_pub_bench", outbox=f"sqlite:///{folder}/other.sqlite3"))
        times = compare({"bare": app, "no-op": no_op(app), "ours": UsageMiddleware(app, recorder=recorder)}, requests)
        added, reference = times["ours"] - times["bare"], times["no-op"] - times["bare"]
        report(f"other route, {messages} body messages: added", added, "us", reference, "no-op middleware")


def bench_counted_route(folder: Path) -> None:
    """
    What a decorated endpoint pays, its durable commit included.
    """

    @usage_point("cloud-render")
    async def endpoint() -> None:
        pass

    settings = Settings(license_key="rm_pub_bench", delivery="off", outbox=f"sqlite:///{folder}/counted.sqlite3")
    recorder = UsageRecorder(settings)
    recorder.start()
    app = UsageMiddleware(app_of(1, endpoint), recorder=recorder)
    with asyncio.Runner() as runner, (folder / "log").open("ab", buffering=0) as log:
        runner.run(serve(app, 200))
        wall, cpu, cpu_together, append = [], [], [], []
        for _ in range(20):
            before = time.thread_time()
            wall.append(runner.run(serve(app, AT_ONCE)))
            between = time.thread_time()
            runner.run(serve_together(app, AT_ONCE))
            cpu.append((between - before) / AT_ONCE * 1e6)
            cpu_together.append((time.thread_time() - between) / AT_ONCE * 1e6)
            append.append(time_append(log.fileno(), AT_ONCE))
    recorder.stop()
    report("counted route: wall time", statistics.median(wall), "us", statistics.median(append), "append + fdatasync")
    report("counted route: CPU of the event loop's thread", statistics.median(cpu), "us")
    report(f"counted route: the same, {AT_ONCE} requests at once", statistics.median(cpu_together), "us")


def time_append(descriptor: int, count: int) -> float:
    """
    Return the microseconds that appending 200 bytes durably takes.
    """
    start = time.perf_counter()
    for _ in range(count):
        os.write(descriptor, b"x" * 200)
        os.fdatasync(descriptor)
    return (time.perf_counter() - start) / count * 1e6

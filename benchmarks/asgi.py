"""
What requests to an ASGI app pay.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remotion_licensing_integrations import Settings, UsageRecorder, usage_point
from remotion_licensing_integrations.asgi import UsageMiddleware

from .common import differences, report

ROUNDS = 200
COUNTED_ROUNDS = 20
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


def compare(apps: dict[str, Any], requests: int) -> dict[str, list[float]]:
    """
    Return the microseconds that each app takes in each round, taken in turns.
    """
    samples: dict[str, list[float]] = {name: [] for name in apps}
    with asyncio.Runner() as runner:
        for _ in range(ROUNDS):
            for name, app in apps.items():
                samples[name].append(runner.run(serve(app, requests)))
    return samples


def bench_other_routes(folder: Path) -> None:
    """
    What an endpoint that is not decorated pays.
    """
    for messages, requests in ((1, 50), (64, 10)):
        app = app_of(messages)
        recorder = UsageRecorder(Settings(license_key="rm_pub_bench", outbox=f"sqlite:///{folder}/other.sqlite3"))
        ours = UsageMiddleware(app, recorder=recorder)
        samples = compare({"no-op": no_op(app), "bare": app, "ours": ours, "bare again": app}, requests)
        reference = differences(samples["no-op"], samples["bare"])
        for name in ("bare again", "no-op", "ours"):
            added = differences(samples[name], samples["bare"])
            report(f"other route, {messages} body messages, added: {name}", added, "us", reference, "no-op")


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
    appends: list[float] = []
    again: list[float] = []
    alone: list[Cost] = []
    together: list[Cost] = []
    with asyncio.Runner() as runner, (folder / "log").open("ab", buffering=0) as log:
        runner.run(serve(app, 200))
        for _ in range(COUNTED_ROUNDS):
            appends.append(time_append(log.fileno(), AT_ONCE))
            alone.append(cost_of(lambda: runner.run(serve(app, AT_ONCE))))
            together.append(cost_of(lambda: runner.run(serve_together(app, AT_ONCE))))
            again.append(time_append(log.fileno(), AT_ONCE))
    recorder.stop()
    report("counted route: append + fdatasync again", again, "us", appends, "append + fdatasync")
    report("counted route: wall time", [cost.wall for cost in alone], "us", appends, "append + fdatasync")
    for name, costs in (("", alone), (f", {AT_ONCE} requests at once", together)):
        report(f"counted route{name}: CPU of the event loop's thread", [cost.loop for cost in costs], "us")
        report(f"counted route{name}: CPU of all threads", [cost.cpu for cost in costs], "us")


@dataclass(frozen=True)
class Cost:
    """
    Microseconds of a request.

    Attributes:
        wall: Of time.
        loop: Of CPU, in the thread of the event loop.
        cpu: Of CPU, in all threads.
    """

    wall: float
    loop: float
    cpu: float


def cost_of(serve_all: Callable[[], object]) -> Cost:
    """
    Return what each of `AT_ONCE` requests costs.
    """
    clocks = (time.perf_counter, time.thread_time, time.process_time)
    before = [clock() for clock in clocks]
    serve_all()
    return Cost(*((clock() - start) / AT_ONCE * 1e6 for clock, start in zip(clocks, before, strict=True)))


def time_append(descriptor: int, count: int) -> float:
    """
    Return the microseconds that appending 200 bytes durably takes.
    """
    start = time.perf_counter()
    for _ in range(count):
        os.write(descriptor, b"x" * 200)
        os.fdatasync(descriptor)
    return (time.perf_counter() - start) / count * 1e6

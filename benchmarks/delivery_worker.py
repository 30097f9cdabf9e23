"""
Delivers points in a process of its own: `python -m benchmarks.delivery_worker client|ours FILE`.

Run by `delivery.py`. For each line `URL CONNECTIONS POINTS` on its input it delivers so many points and answers what
that took. What it has opened for a URL and a number of connections stays open.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx
else:  # the one that the package uses
    try:
        import httpx2 as httpx
    except ModuleNotFoundError:
        import httpx

from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder
from remotion_licensing_integrations.outbox import open_outbox

from .common import point

CHUNK = 500  # points
PATH = "/api/track/register-usage-point"

#: Takes points and returns how many were delivered.
Deliver = Callable[[list[UsagePoint]], int]


def ours(file: Path) -> Callable[[str, int], tuple[Deliver, Deliver]]:
    """
    From the outbox in *file*: what adds points, and what delivers them.
    """
    outbox = open_outbox(f"sqlite:///{file}")

    @cache
    def opened(url: str, connections: int) -> tuple[Deliver, Deliver]:
        settings = Settings(license_key="rm_pub_bench", base_url=url, concurrency=connections, delivery="external")
        recorder = UsageRecorder(settings, outbox=outbox)

        def add(points: list[UsagePoint]) -> int:
            for start in range(0, len(points), CHUNK):
                outbox.add(points[start : start + CHUNK])
            return 0

        return add, lambda _: recorder.deliver()

    return opened


def client(_: Path) -> Callable[[str, int], tuple[Deliver, Deliver]]:
    """
    Threads with a client and a connection each: faster than threads that share one client, which share its lock.
    """

    @cache
    def opened(url: str, connections: int) -> tuple[Deliver, Deliver]:
        clients = [httpx.Client(base_url=url) for _ in range(connections)]

        def deliver(points: list[UsagePoint]) -> int:
            bodies, done = iter([_body(each) for each in points]), [0] * connections
            threads = [
                threading.Thread(target=_post_all, args=(each, bodies, done, number))
                for number, each in enumerate(clients)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return sum(done)

        return lambda _: 0, deliver

    return opened


def _post_all(each: Any, bodies: Iterator[dict[str, Any]], done: list[int], number: int) -> None:
    for body in bodies:
        if each.post(PATH, json=body).json()["success"]:
            done[number] += 1


def _body(point: UsagePoint) -> dict[str, Any]:
    return {
        "event": point.event,
        "apiKey": "rm_pub_bench",
        "host": point.host,
        "succeeded": point.succeeded,
        "isStill": point.is_still,
        "isProduction": point.is_production,
        "idempotencyKey": point.idempotency_key,
    }


def main() -> None:
    """
    Deliver what the input says.
    """
    kind, file = sys.argv[1:]
    opened = {"client": client, "ours": ours}[kind](Path(file))
    for line in sys.stdin:
        url, connections, number = line.split()
        add, deliver = opened(url, int(connections))
        points = [point() for _ in range(int(number))]
        add(points)
        wall, cpu = time.perf_counter(), time.process_time()
        delivered = deliver(points)
        seconds = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({**seconds, "points": delivered}), flush=True)


if __name__ == "__main__":
    main()

"""
Timings, each beside a reference taken in the same run: ratios travel between machines, absolute figures do not.

Run it with `scripts/bench [SECTION …]`; it needs a quiet machine and some two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from remotion_licensing_integrations import LicensingClient, Settings, UsagePoint, UsageRecorder, usage_point
from remotion_licensing_integrations.asgi import UsageMiddleware
from remotion_licensing_integrations.delivery import Delivery
from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.outbox.sqlite import SQLiteOutbox

ROUNDS = 200


def point() -> UsagePoint:
    """
    A new usage point.
    """
    return UsagePoint(event="cloud-render", host="https://myapp.com", succeeded=True)


def report(name: str, value: float, unit: str, reference: float | None = None, of: str = "") -> None:
    """
    Print one figure and its ratio to the reference.
    """
    ratio = "" if reference is None else f"   {value / reference:5.2f} x {of} ({reference:,.1f})"
    print(f"  {name:<44}{value:>12,.1f} {unit:<9}{ratio}", flush=True)


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


async def serve(app: Any, requests: int) -> float:
    """
    Return the microseconds a request takes.
    """
    headers = [(b"host", b"myapp.com"), (b"origin", b"https://myapp.com")]
    start = time.perf_counter()
    for _ in range(requests):
        scope = {"type": "http", "method": "POST", "path": "/convert", "headers": headers, "scheme": "https"}
        await app(scope, None, send_nowhere)
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
        wall, cpu, append = [], [], []
        for _ in range(20):
            before = time.thread_time()
            wall.append(runner.run(serve(app, 50)))
            cpu.append((time.thread_time() - before) / 50 * 1e6)
            append.append(time_append(log.fileno(), 50))
    recorder.stop()
    report("counted route: wall time", statistics.median(wall), "us", statistics.median(append), "append + fdatasync")
    report("counted route: CPU of the event loop's thread", statistics.median(cpu), "us")


def time_append(descriptor: int, count: int) -> float:
    """
    Return the microseconds that appending 200 bytes durably takes.
    """
    start = time.perf_counter()
    for _ in range(count):
        os.write(descriptor, b"x" * 200)
        os.fdatasync(descriptor)
    return (time.perf_counter() - start) / count * 1e6


def bench_store(folder: Path) -> None:
    """
    The SQLite outbox beside a plain insert with the same durability, and with a large backlog.
    """
    plain = sqlite3.connect(folder / "plain.sqlite3", isolation_level=None)
    plain.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
    outbox = SQLiteOutbox(folder / "store.sqlite3")
    outbox.open()
    ours, reference = [], []
    for _ in range(20):
        reference.append(rate(50, lambda: plain.execute("INSERT INTO t (x) VALUES (?)", ("x" * 200,))))
        ours.append(rate(50, lambda: outbox.add([point()])))
    report(
        "store: points a second, one at a time", statistics.median(ours), "/s", statistics.median(reference), "INSERT"
    )
    batches = [[point() for _ in range(500)] for _ in range(400)]
    report("store: points a second, 500 at a time", 500 * rate(400, lambda: outbox.add(batches.pop())), "/s")
    report("store: 200,000 pending, claim of 100", 1e3 / rate(50, lambda: outbox.claim(100, lease=60)), "ms")
    report("store: 200,000 pending, counts", 1e3 / rate(5, outbox.counts), "ms")
    outbox.close()
    plain.close()


def rate(times: int, work: Callable[[], object]) -> float:
    """
    Return how often *work* is done in a second.
    """
    start = time.perf_counter()
    for _ in range(times):
        work()
    return times / (time.perf_counter() - start)


class SlowAPI(BaseHTTPRequestHandler):
    """
    A licensing API that takes `latency` seconds.
    """

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or the client waits for a delayed acknowledgement
    latency = 0.05
    answer = b'{"success":true,"billable":true,"classification":"billable"}'

    def do_POST(self) -> None:
        """
        Register anything.
        """
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(self.latency)
        self.send_response(200)
        self.send_header("content-length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        """
        Say nothing.
        """


def bench_delivery(folder: Path) -> None:
    """
    Delivery with claim and settle, beside what the connections could carry at the most.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowAPI)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    for latency in (0.02, 0.05, 0.1):
        SlowAPI.latency = latency
        settings = Settings(license_key="rm_pub_bench", base_url=url, concurrency=8)
        outbox = SQLiteOutbox(folder / f"delivery-{latency}.sqlite3")
        outbox.add([point() for _ in range(600)])
        delivered = deliver_all(outbox, settings)
        report(f"delivery: {latency * 1e3:.0f} ms latency, 8 at a time", delivered, "/s", 8 / latency, "8 / latency")
        outbox.close()
    SlowAPI.latency = 0
    with LicensingClient("rm_pub_bench", base_url=url) as client:
        alone = rate(500, lambda: client.register_usage_event(event="cloud-render", host=None, succeeded=True))
    memory = MemoryOutbox()
    memory.add([point() for _ in range(1000)])
    settings = Settings(license_key="rm_pub_bench", base_url=url, concurrency=1)
    report("delivery: no latency, 1 at a time", deliver_all(memory, settings), "/s", alone, "the client alone")
    server.shutdown()


def deliver_all(outbox: Any, settings: Settings) -> float:
    """
    Deliver everything and return the points a second.
    """
    delivery = Delivery(outbox, settings)
    start = time.perf_counter()
    delivered = delivery.deliver()
    delivery.close()
    return delivered / (time.perf_counter() - start)


SECTIONS = {
    "other": bench_other_routes,
    "counted": bench_counted_route,
    "store": bench_store,
    "delivery": bench_delivery,
}


def main() -> int:
    """
    Run the chosen sections.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION", help=", ".join(SECTIONS))
    chosen = parser.parse_args().sections or list(SECTIONS)
    for name in chosen:
        print(name)
        # Beside the repository, not in /tmp, which may be memory: a commit must reach a disk.
        with TemporaryDirectory(dir=Path(__file__).parent.parent, prefix=".bench-") as folder:
            SECTIONS[name](Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())

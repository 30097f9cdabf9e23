"""
What views of a Django project pay, beside the middleware of others and beside storing a row.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .common import report
from .django_project import VARIANTS

ROUNDS = 40
BLOCKS = {"other": 10, "convert": 3}  # of requests, in each round
PEERS = ("OpenTelemetry", "Sentry, no traces", "Sentry, all traces")

Samples = dict[str, list[dict[str, float]]]


class Worker:
    """
    A process with one variant of the project, at work only while it is asked.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def serve(self, path: str, blocks: int) -> dict[str, float]:
        """
        Return the microseconds that a request takes.
        """
        # First a block that does not count: what waits gets cold.
        for number in (1, blocks):
            print(path, number, file=self._process.stdin, flush=True)
            answer = self._read()
        return answer

    def finish(self) -> dict[str, int | None]:
        """
        End the process, and return how many conversions were answered and recorded.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def started(handler: str, name: str, folder: Path) -> Iterator[Worker]:
    """
    A worker while the context lasts.
    """
    command = [sys.executable, "-m", f"{__package__}.django_project", handler, name, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()


def bench_django(folder: Path) -> None:
    """
    What the middleware adds to a view, by the synchronous and by the asynchronous handler.
    """
    for handler in ("WSGI", "ASGI"):
        with ExitStack() as stack:
            workers = {name: stack.enter_context(started(handler, name, folder)) for name in VARIANTS}
            samples = {path: take_turns(workers, path) for path in BLOCKS}
            finished = {name: worker.finish() for name, worker in workers.items()}
        report_other(handler, samples["other"])
        report_counted(handler, samples["convert"])
        report_recorded(handler, finished)


def take_turns(workers: dict[str, Worker], path: str) -> Samples:
    """
    Return what each worker measures, one at a time and in another order each round.
    """
    samples: Samples = {name: [] for name in workers}
    order = random.Random(path)
    for _ in range(ROUNDS):
        for name in order.sample(list(workers), len(workers)):
            samples[name].append(workers[name].serve(path, BLOCKS[path]))
    return samples


def added(samples: Samples, name: str, clock: str = "wall") -> float:
    """
    Return the median microseconds that a variant takes longer than the bare project in the same round.
    """
    rounds = zip(samples[name], samples["bare"], strict=True)
    return statistics.median(sample[clock] - bare[clock] for sample, bare in rounds)


def report_other(handler: str, samples: Samples) -> None:
    """
    Print what a view pays that is not decorated.
    """
    bare = statistics.median(sample["wall"] for sample in samples["bare"])
    report(f"{handler}, other view, bare", bare, "us")
    for name in ("bare again", "no-op", "ours", *PEERS):
        report(f"{handler}, other view, added: {name}", added(samples, name), "us", bare, "bare")


def report_counted(handler: str, samples: Samples) -> None:
    """
    Print what a decorated view pays, its durable commit included.
    """
    reference = added(samples, "create()")
    for name in ("bare again", "no-op", "ours", *PEERS):
        report(f"{handler}, counted view, added: {name}", added(samples, name), "us", reference, "create()")
    ours, reference = (added(samples, name, "cpu") for name in ("ours", "create()"))
    report(f"{handler}, counted view, CPU of all threads: ours", ours, "us", reference, "create()")
    ours, reference = (added(samples, f"{name}, Django's SQLite") for name in ("ours", "create()"))
    report(f"{handler}, counted view, Django's SQLite: ours", ours, "us", reference, "create()")


def report_recorded(handler: str, finished: dict[str, dict[str, int | None]]) -> None:
    """
    Print how much of it is recorded: a fast middleware that drops is not fast.
    """
    for name, counts in finished.items():
        if counts["recorded"] is not None:
            print(f"  {handler}, {name}: {counts['recorded']:,} recorded of {counts['answered']:,} conversions")

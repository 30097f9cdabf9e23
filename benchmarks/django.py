"""
What views of a Django project pay, beside the middleware of others and beside storing a row.
"""

from __future__ import annotations

import random
import sys
from contextlib import ExitStack
from pathlib import Path

from .common import differences, report
from .django_project import VARIANTS
from .processes import Worker, working

ROUNDS = 40
BLOCKS = {"other": 10, "convert": 3}  # of requests, in each round
PEERS = ("OpenTelemetry", "Sentry, no traces", "Sentry, all traces")

Samples = dict[str, list[dict[str, float]]]


def bench_django(folder: Path) -> None:
    """
    What the middleware adds to a view, by the synchronous and by the asynchronous handler.
    """
    for handler in ("WSGI", "ASGI"):
        with ExitStack() as stack:
            workers = {name: stack.enter_context(working(_command(handler, name, folder))) for name in VARIANTS}
            samples = {path: take_turns(workers, path) for path in BLOCKS}
            finished = {name: worker.finish() for name, worker in workers.items()}
        report_other(handler, samples["other"])
        report_counted(handler, samples["convert"])
        report_recorded(handler, finished)


def _command(handler: str, name: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", f"{__package__}.django_project", handler, name, str(folder)]


def take_turns(workers: dict[str, Worker], path: str) -> Samples:
    """
    Return what each worker measures, one at a time and in another order each round.
    """
    samples: Samples = {name: [] for name in workers}
    order = random.Random(path)
    for _ in range(ROUNDS):
        for name in order.sample(list(workers), len(workers)):
            # First a block that does not count: what waits gets cold.
            workers[name].ask(path, 1)
            samples[name].append(workers[name].ask(path, BLOCKS[path]))
    return samples


def added(samples: Samples, name: str, clock: str = "wall") -> list[float]:
    """
    Return the microseconds that a variant takes longer than the bare project in the same round.
    """
    measured, bare = ([sample[clock] for sample in samples[each]] for each in (name, "bare"))
    return differences(measured, bare)


def report_other(handler: str, samples: Samples) -> None:
    """
    Print what a view pays that is not decorated.
    """
    bare = [sample["wall"] for sample in samples["bare"]]
    report(f"{handler}, other view, bare", bare, "us")
    for name in ("bare again", "no-op", "ours", *PEERS):
        report(f"{handler}, other view, added: {name}", added(samples, name), "us", bare, "bare")


def report_counted(handler: str, samples: Samples) -> None:
    """
    Print what a decorated view pays, its durable commit included.
    """
    reference = added(samples, "create()")
    for name in ("bare again", "create() again", "no-op", "ours", *PEERS):
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

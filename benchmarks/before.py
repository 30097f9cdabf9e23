"""
The package beside an older commit of it: whether a change has made requests or deliveries slower.

Each is a process of its own on one core. One runs at a time, in shuffled order; the older package is run by today's
scripts, which use public names. Today's package, measured a second time, shows how far two equal ones differ.
"""

from __future__ import annotations

import io
import os
import random
import statistics
import subprocess
import sys
import tarfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

from .common import spread
from .processes import MEASURED, Worker, licensing_api, pinned, working

ROUNDS: Final = 30
REPOSITORY: Final = Path(__file__).parent.parent
#: What is measured: the module of the worker, its own arguments, and what it is asked; *url* is the licensing API's.
MEASURES: Final = {
    "a request that does not count": ("requests_worker", [], "other 2000"),
    "a request that counts": ("requests_worker", [], "counted 100"),
    "one of 50 such requests at once": ("requests_worker", [], "together 50"),
    "delivery of a point over one connection": ("delivery_worker", ["ours"], "{url} 1 500"),
    "delivery of a point over 8 connections": ("delivery_worker", ["ours"], "{url} 8 500"),
}


def bench_before(folder: Path, revision: str) -> None:
    """
    Microseconds of wall and CPU time, as a multiple of what they were at the commit *revision*.
    """
    before = _check_out(revision, folder / "before")
    print(f"  {'':<44}{'before':>10}{'now':>10}{'now x before':>28}{'now again':>12}{'CPU':>8}")
    with licensing_api(0) as url:
        for number, (name, (module, arguments, question)) in enumerate(MEASURES.items()):
            with ExitStack() as stack:
                workers = {
                    variant: stack.enter_context(_work(place, module, *arguments, str(folder / f"{number}-{variant}")))
                    for variant, place in {"before": before, "now": REPOSITORY, "again": REPOSITORY}.items()
                }
                _print(name, _take_turns(workers, question.format(url=url)))


def _check_out(revision: str, place: Path) -> Path:
    command = ["git", "archive", revision, "remotion_licensing_integrations"]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=REPOSITORY)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(place, filter="data")
    return place


def _work(place: Path, module: str, *arguments: str) -> AbstractContextManager[Worker]:
    # `-P`: the package comes from *place*, not from the current directory.
    command = [sys.executable, "-P", "-m", f"{__package__}.{module}", *arguments]
    return working(pinned(MEASURED, command), {**os.environ, "PYTHONPATH": str(place)})


def _take_turns(workers: dict[str, Worker], question: str) -> list[dict[str, dict[str, float]]]:
    rounds = []
    for _ in range(1 + ROUNDS):
        order = random.sample(list(workers), len(workers))  # not cryptography
        rounds.append({variant: workers[variant].ask(question) for variant in order})
    return rounds[1:]  # the first one opens and compiles


def _print(name: str, rounds: list[dict[str, dict[str, float]]]) -> None:
    times = {
        variant: [each[variant]["seconds"] / each[variant]["points"] * 1e6 for each in rounds] for variant in rounds[0]
    }

    def ratios(variant: str, figure: str) -> list[float]:
        return [each[variant][figure] / each["before"][figure] for each in rounds]

    now, again, cpu = ratios("now", "seconds"), ratios("again", "seconds"), ratios("now", "cpu")
    print(
        f"  {name:<44}{statistics.median(times['before']):>7.1f} us{statistics.median(times['now']):>7.1f} us"
        f"{f'{statistics.median(now):.2f} {spread(now, 2)}':>28}{statistics.median(again):>12.2f}"
        f"{statistics.median(cpu):>8.2f}",
        flush=True,
    )

"""
What a backlog of a million points costs: its delivery, its memory, its commands, and the requests meanwhile.

Draining all of it would take more than five minutes, so slices of some seconds are drained from three outboxes, each
in a process of its own: one with all million points pending, one whose first nine tenths are registered already, and a
small one. The small one is measured twice, to show how far two equal outboxes differ.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, Final

from remotion_licensing_integrations.outbox import SQLiteOutbox

from .common import point, rate, report
from .processes import MEASURED, Worker, licensing_api, pinned, working

POINTS: Final = 1_000_000
TENTH: Final = POINTS // 10
SMALL: Final = 100_000  # points, more than the rounds deliver
CHUNK: Final = 5_000  # points
ROUNDS: Final = 5
SECONDS: Final = 2.0  # of each slice
ADDED: Final = 100  # points in each round, one every 10 ms

FIRST: Final = "first tenth"
LAST: Final = "last tenth"
ALONE: Final = f"{SMALL:,} alone"
AGAIN: Final = "the same again"
EMPTY: Final = "empty"


def bench_backlog(folder: Path) -> None:
    """
    Deliver, look at and add to an outbox with a million points.
    """
    files = {name: folder / f"{number}.sqlite3" for number, name in enumerate((FIRST, LAST, ALONE, AGAIN, EMPTY))}
    _fill(files)
    _bench_reads(files[FIRST], files[EMPTY])
    with licensing_api(0) as url, ExitStack() as stack:
        command = [sys.executable, "-m", f"{__package__}.backlog_worker", url]
        workers = {
            name: stack.enter_context(working(pinned(MEASURED, [*command, str(file)]))) for name, file in files.items()
        }
        before = workers[FIRST].ask("memory")["now"]
        _bench_drain({name: worker for name, worker in workers.items() if name != EMPTY})
        _bench_add(workers)
        after = workers[FIRST].ask("memory")["peak"]
    report("backlog, memory of the delivering process before its first point", [before], "MB")
    report("backlog, memory of the delivering process at its peak", [after], "MB")


def _fill(files: dict[str, Path]) -> None:
    start = time.perf_counter()
    _add_to(files[FIRST], POINTS)
    seconds = time.perf_counter() - start
    size = files[FIRST].stat().st_size / 1e6
    print(f"  {POINTS:,} points added in {seconds:.0f} s, {CHUNK:,} at a time: a file of {size:,.0f} MB", flush=True)
    shutil.copy(files[FIRST], files[LAST])
    # What delivery leaves behind: registered rows before the pending ones.
    with closing(sqlite3.connect(files[LAST], isolation_level=None)) as connection:
        connection.execute(
            "UPDATE remotion_usage_point SET state = 'registered', attempts = 1, billable = 1 WHERE id <= ?",
            (POINTS - TENTH,),
        )
    _add_to(files[ALONE], SMALL)
    shutil.copy(files[ALONE], files[AGAIN])
    _add_to(files[EMPTY], 0)


def _add_to(file: Path, count: int) -> None:
    with closing(SQLiteOutbox(file)) as outbox:
        outbox.open()
        for _ in range(count // CHUNK):
            outbox.add([point() for _ in range(CHUNK)])


def _bench_reads(full: Path, empty: Path) -> None:
    with closing(SQLiteOutbox(full)) as outbox:
        if outbox.counts().pending != POINTS:
            msg = f"{outbox!r} has not the {POINTS:,} points"
            raise RuntimeError(msg)
        report("backlog, counts()", [1e3 / rate(1, outbox.counts) for _ in range(ROUNDS)], "ms")
    pairs = [[1e3 / rate(1, partial(_status, file)) for file in (empty, full, empty)] for _ in range(ROUNDS)]
    references, times, again = zip(*pairs, strict=True)
    report("backlog, remotion-licensing status: an empty outbox", references, "ms")
    report("backlog, remotion-licensing status: the same again", again, "ms", references, "an empty outbox")
    report("backlog, remotion-licensing status", times, "ms", references, "an empty outbox")


def _status(file: Path) -> None:
    # Status 1 says that something needs attention, 2 that the command failed.
    command = [str(Path(sys.executable).with_name("remotion-licensing")), "--outbox", f"sqlite:///{file}", "status"]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode > 1:
        raise RuntimeError(done.stderr)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("REMOTION_")}


def _bench_drain(workers: dict[str, Worker]) -> None:
    samples = _take_turns(workers, "drain", SECONDS)
    rates = {name: [each["rate"] for each in rounds] for name, rounds in samples.items()}
    for name in (ALONE, AGAIN, FIRST, LAST):
        report(f"backlog, delivered in slices of {SECONDS:g} s: {name}", rates[name], "/s", rates[ALONE], ALONE)


def _bench_add(workers: dict[str, Worker]) -> None:
    idle = _take_turns({name: workers[name] for name in (EMPTY, FIRST)}, "add", ADDED)
    again = _take_turns({EMPTY: workers[EMPTY]}, "add", ADDED)
    delivering = _take_turns({name: workers[name] for name in (ALONE, FIRST)}, "add-while-draining", ADDED)
    for figure in ("p50", "p99"):
        reference = [each[figure] for each in idle[EMPTY]]
        for name, rounds in (
            ("an empty outbox", idle[EMPTY]),
            ("an empty outbox again", again[EMPTY]),
            ("a million, nothing delivers", idle[FIRST]),
            (f"{ALONE}, the same process delivers", delivering[ALONE]),
            ("a million, the same process delivers", delivering[FIRST]),
        ):
            values = [each[figure] for each in rounds]
            report(f"backlog, add {figure}: {name}", values, "us", reference, "an empty outbox")
    report("backlog, delivered meanwhile", [each["rate"] for each in delivering[FIRST]], "/s")


def _take_turns(workers: dict[str, Worker], *words: object) -> dict[str, list[dict[str, Any]]]:
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for _ in range(ROUNDS):
        for name in random.sample(list(workers), len(workers)):  # not cryptography
            samples[name].append(workers[name].ask(*words))
    return samples

"""
What storing takes.
"""

from __future__ import annotations

import sqlite3
import statistics
from pathlib import Path

from remotion_licensing_integrations.outbox import SQLiteOutbox

from .common import point, rate, report


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

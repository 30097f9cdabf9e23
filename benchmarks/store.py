"""
What storing takes.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Final

from remotion_licensing_integrations import UsagePoint
from remotion_licensing_integrations.outbox import SQLiteOutbox
from remotion_licensing_integrations.outbox.sqlite import WAL_LIMIT
from remotion_licensing_integrations.outbox.statements import MIGRATIONS

from .common import point, rate, report

ROUNDS: Final = 20
INSERTS: Final = 50  # in each round
BACKLOG: Final = 200_000  # points
BATCH: Final = 500  # points

_PAGE: Final = 4096  # bytes
_PLAIN: Final = "CREATE TABLE plain (id INTEGER PRIMARY KEY, text)"
_COLUMNS: Final = [field.name for field in fields(UsagePoint) if field.name not in {"occurred_at", "key_fingerprint"}]
_values: Final = attrgetter(*_COLUMNS)
_INSERT_AS_OURS: Final = (
    f"INSERT INTO remotion_usage_point ({', '.join(_COLUMNS)}, occurred_at, state, due, attempts)"
    f" VALUES ({', '.join('?' * len(_COLUMNS))}, ?, 'pending', 0, 0)"
)

Store = Callable[[UsagePoint], object]


def bench_store(folder: Path) -> None:
    """
    The SQLite outbox beside two inserts with the same durability, one of them into the same table, and with a backlog.
    """
    outbox = SQLiteOutbox(folder / "store.sqlite3")
    stores: dict[str, Store] = {
        "INSERT": _plain(folder / "plain.sqlite3"),
        "INSERT again": _plain(folder / "again.sqlite3"),
        "INSERT into our table": _same_table(folder / "table.sqlite3"),
        "ours": lambda point: outbox.add([point]),
    }
    for store in stores.values():
        _overwrite_wal(store)
    samples: dict[str, list[float]] = {name: [] for name in stores}
    for _ in range(ROUNDS):
        for name in random.sample(list(stores), len(stores)):  # not cryptography
            points = [point() for _ in range(INSERTS)]
            samples[name].append(rate(INSERTS, lambda: stores[name](points.pop())))  # noqa: B023 - called at once
    for name, rates in samples.items():
        report(f"store, one at a time: {name}", rates, "/s", samples["INSERT"], "INSERT")
    report("store, one at a time: ours", samples["ours"], "/s", samples["INSERT into our table"], "the same table")
    _bench_backlog(outbox)
    outbox.close()


def _bench_backlog(outbox: SQLiteOutbox) -> None:
    rates = []
    for _ in range(ROUNDS):
        batches = [[point() for _ in range(BATCH)] for _ in range(BACKLOG // BATCH // ROUNDS)]
        rates.append(BATCH * rate(len(batches), lambda: outbox.add(batches.pop())))  # noqa: B023 - called at once
    report(f"store, {BATCH} at a time: ours", rates, "/s")
    for name, work in (("claim of 100", lambda: outbox.claim(100, lease=60)), ("counts", outbox.counts)):
        report(f"store, {BACKLOG:,} pending: {name}", [1e3 / rate(1, work) for _ in range(ROUNDS)], "ms")


def _plain(path: Path) -> Store:
    connection = _durable(path)
    connection.execute(_PLAIN)
    return lambda _: connection.execute("INSERT INTO plain (text) VALUES (?)", ("x" * 200,))


def _same_table(path: Path) -> Store:
    connection = _durable(path)
    for statement in MIGRATIONS["sqlite"][0]:
        connection.execute(statement)
    return partial(_insert_as_ours, connection)


def _insert_as_ours(connection: sqlite3.Connection, point: UsagePoint) -> None:
    connection.execute(_INSERT_AS_OURS, (*_values(point), point.occurred_at.timestamp()))


def _durable(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"wal_autocheckpoint={WAL_LIMIT // _PAGE}"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _overwrite_wal(store: Store) -> None:
    # A commit that makes the file longer takes longer; a WAL that is full is written again from its beginning.
    for _ in range(2 * WAL_LIMIT // _PAGE):
        store(point())

"""
An outbox in one SQLite file that all processes of a machine share.

The licence key is never stored. The file must be on a local disk: WAL needs memory shared by its users.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigurationError, OutboxError
from ..points import UsagePoint
from . import rows as _rows
from .contract import MAX_DELAY, UNSETTLED, Change, ClaimedPoint, Counts, Finding, Outbox, State, StoredPoint
from .file import Database
from .place import examine_place

# `due` is when a pending point is delivered next; for the others, when they came into their state. The index serves the
# order of claims and covers the counts.
_MIGRATIONS: Final = (
    """
    CREATE TABLE usage_point (
        id INTEGER PRIMARY KEY,
        idempotency_key TEXT NOT NULL UNIQUE,
        event TEXT NOT NULL,
        host TEXT,
        succeeded INTEGER NOT NULL,
        is_still INTEGER NOT NULL,
        is_production INTEGER NOT NULL,
        occurred_at REAL NOT NULL,
        state TEXT NOT NULL DEFAULT 'pending',
        due REAL NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        token TEXT,
        unanswered_since REAL,
        last_error TEXT,
        billable INTEGER,
        classification TEXT
    );
    CREATE INDEX usage_point_due ON usage_point (state, due, id, occurred_at, token)
    """,
)

_POINT: Final = ", ".join(_rows.POINT)
_ROW: Final = ", ".join(_rows.POINT + _rows.PROGRESS)
# A deferred point gives way to the one that brings its outcome.
_INSERT: Final = f"""
    INSERT INTO usage_point ({_POINT}, state, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (idempotency_key) DO UPDATE SET event = excluded.event, host = excluded.host,
        succeeded = excluded.succeeded, is_still = excluded.is_still, is_production = excluded.is_production,
        occurred_at = excluded.occurred_at, state = excluded.state, due = excluded.due
    WHERE state = 'deferred' AND excluded.state = 'pending'
"""
_DUE: Final = "FROM usage_point WHERE state = 'pending' AND due <= ? ORDER BY due, id LIMIT ?"
# Nothing is put off so far: the clock has gone back.
_FAR: Final = "FROM usage_point WHERE state = 'pending' AND due > ? ORDER BY due, id LIMIT ?"
_FIRST_AND_LAST: Final = """
    SELECT (SELECT MIN(due) FROM usage_point WHERE state = 'pending'),
        (SELECT MAX(due) FROM usage_point WHERE state = 'pending')
"""
_COUNTS: Final = """
    SELECT state, COUNT(*), COUNT(CASE WHEN due > ? THEN token END), MIN(occurred_at) FROM usage_point GROUP BY state
"""
_WRITE: Final = """
    UPDATE usage_point SET state = ?, due = ?, token = NULL, attempts = attempts - ?, last_error = ?, billable = ?,
        classification = ?, unanswered_since = COALESCE(unanswered_since, ?)
    WHERE id = ? AND token = ? AND state = 'pending'
"""
_RETRY: Final = """
    UPDATE usage_point SET state = 'pending', due = ?, attempts = 0, unanswered_since = NULL
    WHERE state IN ('rejected', 'held')
"""
_MAX_MISSES: Final = 20_000  # rows in a row that cannot be read, after which a damaged file holds no more
_PRUNE_STEP: Final = 1_000  # rows; bounds how long one step keeps the file locked
_PRUNE_PAUSE: Final = 0.005  # seconds, in which those who record get their turn


class SQLiteOutbox(Outbox):
    """
    Points in the file at *path*, created with mode 0600.

    Args:
        path: A file of its own on a local disk.
        clock: The present moment in epoch seconds.

    Raises:
        ConfigurationError: *path* cannot name a durable file.
    """

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        # SQLite would take an empty name as "a private temporary database": not durable, and silently so.
        if not str(path) or str(path).startswith(":") or "\0" in str(path):
            msg = f"outbox: {str(path)!r} is not the path of a file"
            raise ConfigurationError(msg)
        self._clock = clock
        self._database = Database(Path(path).absolute(), _MIGRATIONS, _salvage)

    def __repr__(self) -> str:
        return f"SQLiteOutbox({str(self._database.path)!r})"

    @property
    def path(self) -> Path:
        """
        The file, absolute.
        """
        return self._database.path

    def open(self) -> None:
        self._database.read("SELECT 1")

    def exists(self) -> bool:
        try:
            self.path.stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True  # opening it says what is wrong
        return True

    def examine(self) -> Iterable[Finding]:
        return examine_place(self.path)

    def add(self, points: Sequence[UsagePoint]) -> None:
        if not points:
            return
        now = self._clock()
        rows = [(*_to_row(point), now) for point in points]
        self._database.write(lambda connection: connection.executemany(_INSERT, rows).rowcount)

    def claim(self, limit: int, *, lease: float) -> Sequence[ClaimedPoint]:
        # Without the write lock first: an idle deliverer must not disturb those who record.
        if self.next_due() != 0:
            return []
        now, token = self._clock(), secrets.token_hex(8)

        def work(connection: sqlite3.Connection) -> list[ClaimedPoint]:
            # A token is left of a claim that was never written back: its point may have been sent.
            unanswered = "COALESCE(unanswered_since, CASE WHEN token IS NOT NULL THEN due END)"
            columns = f"SELECT id, attempts, {unanswered}, {_POINT} "
            rows = connection.execute(columns + _DUE, (now, limit)).fetchall()
            rows += connection.execute(columns + _FAR, (now + MAX_DELAY, limit - len(rows))).fetchall()
            connection.executemany(
                "UPDATE usage_point SET due = ?, token = ?, attempts = attempts + 1, unanswered_since = ? WHERE id = ?",
                [(now + min(lease, MAX_DELAY), token, row[2], row[0]) for row in rows],
            )
            return [claimed for row in rows if (claimed := _to_claimed(connection, row, token, now)) is not None]

        return self._database.write(work)

    def settle(self, changes: Sequence[Change]) -> int:
        if not changes:
            return 0
        now = self._clock()
        rows = [_to_write(change, now) for change in changes]
        return self._database.write(lambda connection: connection.executemany(_WRITE, rows).rowcount)

    def next_due(self) -> float | None:
        [(first, last)] = self._database.read(_FIRST_AND_LAST)
        return _rows.to_wait(first, last, self._clock())

    def counts(self) -> Counts:
        return _rows.to_counts(self._database.read(_COUNTS, (self._clock(),)))

    def get(self, idempotency_key: str) -> StoredPoint | None:
        if not idempotency_key.isascii():
            return None  # no such key is stored, and SQLite refuses lone surrogates
        rows = self._database.read(f"SELECT {_ROW} FROM usage_point WHERE idempotency_key = ?", (idempotency_key,))
        if not rows:
            return None
        try:
            return _rows.to_stored(rows[0], self._clock())
        except _rows.UNREADABLE as error:
            msg = f"outbox {self._database.path}: usage point {idempotency_key} cannot be read: {error}"
            raise OutboxError(msg) from error

    def list(
        self, state: State | None = None, *, before: datetime | None = None, limit: int = 100
    ) -> Sequence[StoredPoint]:
        conditions: dict[str, object] = {}
        if state is not None:
            conditions["state = ?"] = state.value
        if before is not None:
            conditions["occurred_at < ?"] = before.timestamp()
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"SELECT {_ROW} FROM usage_point {where} ORDER BY id DESC LIMIT ?"
        rows = self._database.read(sql, [*conditions.values(), limit])
        return _rows.to_stored_points(rows, self._clock())

    def retry(self, idempotency_keys: Sequence[str] | None = None) -> int:
        now = self._clock()
        if idempotency_keys is None:
            return self._database.write(lambda connection: connection.execute(_RETRY, (now,)).rowcount)
        rows = [(now, key) for key in idempotency_keys if key.isascii()]
        sql = f"{_RETRY} AND idempotency_key = ?"
        return self._database.write(lambda connection: max(0, connection.executemany(sql, rows).rowcount))

    def discard(self, idempotency_keys: Sequence[str], states: Collection[State] = UNSETTLED) -> int:
        rows = [(key,) for key in idempotency_keys if key.isascii()]
        listed = ", ".join(f"'{state.value}'" for state in states)
        sql = f"DELETE FROM usage_point WHERE state IN ({listed}) AND idempotency_key = ?"
        return self._database.write(lambda connection: max(0, connection.executemany(sql, rows).rowcount))

    def prune(self, older_than: float) -> int:
        limit = self._clock() - older_than
        old = "SELECT id FROM usage_point WHERE state = 'registered' AND due < ? LIMIT ?"
        sql = f"DELETE FROM usage_point WHERE id IN ({old})"
        pruned = 0
        while count := self._database.write(lambda connection: connection.execute(sql, (limit, _PRUNE_STEP)).rowcount):
            pruned += count
            time.sleep(_PRUNE_PAUSE)
        return pruned

    def close(self) -> None:
        self._database.close()


def _to_row(point: UsagePoint) -> tuple[object, ...]:
    key, event, host, succeeded, *others = _rows.to_row(point)
    # Of a deferred point its state says that there is no outcome yet.
    return (key, event, host, bool(succeeded), *others)


def _to_claimed(connection: sqlite3.Connection, row: tuple[Any, ...], token: str, now: float) -> ClaimedPoint | None:
    number, attempts, unanswered_since, *point = row
    try:
        return ClaimedPoint(number, token, _rows.to_point(point), attempts + 1, _rows.to_moment(unanswered_since))
    except _rows.UNREADABLE as error:
        # Written by a newer version or damaged: it must not stop the others, nor be lost.
        connection.execute(
            "UPDATE usage_point SET state = 'rejected', due = ?, token = NULL, last_error = ? WHERE id = ?",
            (now, _rows.to_reason(error), number),
        )
        return None


def _to_write(change: Change, now: float) -> tuple[object, ...]:
    answer = change.registration
    return (
        change.state.value,
        now + change.delay,
        not change.is_attempt,
        change.error,
        answer.billable if answer else None,
        answer.classification if answer else None,
        now if change.unanswered else None,
        change.claimed.row,
        change.claimed.token,
    )


def _salvage(damaged: sqlite3.Connection, connection: sqlite3.Connection) -> int:
    marks = ", ".join("?" * len(_ROW.split(",")))
    sql = f"INSERT OR IGNORE INTO usage_point ({_ROW}) VALUES ({marks})"
    return connection.executemany(sql, _readable(damaged)).rowcount


def _readable(damaged: sqlite3.Connection) -> Iterable[tuple[Any, ...]]:
    # Row by row, because a scan stops at the first damaged page and a look-up only misses the rows on it.
    damaged.execute("SELECT 1 FROM usage_point LIMIT 0")  # without a schema there is nothing to look up
    number = missed = 0
    while missed < _MAX_MISSES:
        try:
            row = damaged.execute(
                f"SELECT id, {_ROW} FROM usage_point WHERE id >= ? ORDER BY id LIMIT 1", (number,)
            ).fetchone()
        except sqlite3.Error:
            number, missed = number + 1, missed + 1
            continue
        if row is None:
            return
        number, missed = row[0] + 1, 0
        yield row[1:]

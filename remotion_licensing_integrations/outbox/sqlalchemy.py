"""
An outbox in a database server that any number of machines share: PostgreSQL, MySQL or MariaDB.

The licence key is never stored.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from sqlalchemy import URL, ColumnElement, Connection, Executable, UpdateBase, make_url
from sqlalchemy.exc import ArgumentError

from .._support.masking import mask, mask_url
from ..errors import ConfigurationError, OutboxError
from ..points import UsagePoint
from . import rows as _rows
from ._dialect import Dialect
from ._schemes import DATABASES
from ._server import Server
from ._tables import POINTS
from .contract import MAX_DELAY, UNSETTLED, Change, ClaimedPoint, Counts, Outbox, State, StoredPoint


class SQLAlchemyOutbox(Outbox):
    """
    Points in the table `remotion_usage_point` of the database at *url*.

    Args:
        url: As SQLAlchemy reads it; its query goes to the driver.
        clock: The present moment in epoch seconds; `None` is the database server's, which all machines share.

    Raises:
        ConfigurationError: *url* names no database that can be used.
        ImportError: The database's driver is not installed.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._dialect = _to_dialect(url, clocked=clock is not None)
        self._server = Server(_to_url(url).set(drivername=self._dialect.driver), self._dialect)

    def __repr__(self) -> str:
        return f"SQLAlchemyOutbox({str(self._server)!r})"

    def exists(self) -> bool:
        return self._server.exists()

    def open(self) -> None:
        self._server.run(lambda _: None)

    def add(self, points: Sequence[UsagePoint]) -> None:
        if points:
            new = [dict(zip(_NEW, _rows.to_row(point), strict=True)) for point in _merged(points)]
            self._change(self._dialect.add, points=_to_json(new))

    def claim(self, limit: int, *, lease: float) -> Sequence[ClaimedPoint]:
        token = secrets.token_hex(8)
        values = {"size": limit, "lease": min(lease, MAX_DELAY), "claim_token": token, **self._now()}

        def work(connection: Connection) -> list[ClaimedPoint]:
            # Each begins with its due time and its number: longest due first, then oldest first.
            rows = sorted(self._dialect.claim(connection, values), key=lambda row: row[:2])
            return [claimed for row in rows if (claimed := self._to_claimed(connection, row, token)) is not None]

        return self._server.run(work)

    def _to_claimed(self, connection: Connection, row: Sequence[Any], token: str) -> ClaimedPoint | None:
        _, number, attempts, unanswered_since, *columns = row
        try:
            point = _rows.to_point(columns)
            return ClaimedPoint(number, token, point, attempts, _rows.to_moment(unanswered_since))
        except _rows.UNREADABLE as error:
            # Written by a newer version or by hand: it must not stop the others, nor be lost.
            reason = _rows.to_reason(error)
            values = {"row": number, "claim_token": token, "reason": reason, **self._now()}
            connection.execute(self._dialect.reject, values)
            return None

    def settle(self, changes: Sequence[Change]) -> int:
        if not changes:
            return 0
        # One statement writes each row once: of several changes of one claim the first.
        first: dict[ClaimedPoint, Change] = {}
        for change in changes:
            first.setdefault(change.claimed, change)
        return self._change(self._dialect.write, changes=_to_json(map(_to_row, first.values())))

    def next_due(self) -> float | None:
        [(first, last, now)] = self._read(self._dialect.next_due)
        return _rows.to_wait(first, last, now)

    def counts(self) -> Counts:
        return _rows.to_counts(self._read(self._dialect.counts))

    def get(self, idempotency_key: str) -> StoredPoint | None:
        keys = _rows.possible_keys([idempotency_key])
        for now, *columns in self._read(self._dialect.rows.where(POINTS.c.idempotency_key.in_(keys))):
            try:
                return _rows.to_stored(columns, now)
            except _rows.UNREADABLE as error:
                msg = f"outbox {self._server}: usage point {idempotency_key} cannot be read: {error}"
                raise OutboxError(msg) from error
        return None

    def list(
        self, state: State | None = None, *, before: datetime | None = None, limit: int = 100
    ) -> Sequence[StoredPoint]:
        rows = self._dialect.rows.order_by(POINTS.c.id.desc()).limit(limit)
        if state is not None:
            rows = rows.where(POINTS.c.state == state.value)
        if before is not None:
            rows = rows.where(POINTS.c.occurred_at < before.timestamp())
        found = self._read(rows)
        return _rows.to_stored_points([row[1:] for row in found], found[0][0] if found else 0.0)

    def retry(self, idempotency_keys: Sequence[str] | None = None) -> int:
        if idempotency_keys is None:
            return self._change(self._dialect.retry)
        return self._change(self._dialect.retry.where(_is_one_of(idempotency_keys)))

    def discard(self, idempotency_keys: Sequence[str], states: Collection[State] = UNSETTLED) -> int:
        wanted = POINTS.c.state.in_([state.value for state in states])
        return self._change(self._dialect.discard.where(wanted, _is_one_of(idempotency_keys)))

    def prune(self, older_than: float) -> int:
        pruned = 0
        while count := self._change(self._dialect.prune, older_than=older_than):
            pruned += count
        return pruned

    def close(self) -> None:
        self._server.close()

    def _now(self) -> dict[str, float]:
        return {} if self._clock is None else {"now": self._clock()}

    def _read(self, rows: Executable) -> Sequence[tuple[Any, ...]]:
        values = self._now()
        return self._server.run(lambda connection: [tuple(row) for row in connection.execute(rows, values)])

    def _change(self, statement: UpdateBase, **values: object) -> int:
        values.update(self._now())
        return self._server.run(lambda connection: connection.execute(statement, values).rowcount)


_NEW: Final[tuple[str, ...]] = (*_rows.POINT, "state")


def _to_json(rows: Iterable[Mapping[str, object]]) -> str:
    # What is missing is NULL in every database; what a JSON null is differs.
    given = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return json.dumps(given, ensure_ascii=False)


def _to_row(change: Change) -> dict[str, object]:
    answer = change.registration
    return {
        "id": change.claimed.row,
        "token": change.claimed.token,
        "state": change.state.value,
        "delay": change.delay,
        "handed_back": int(not change.is_attempt),
        "unanswered": change.unanswered,
        "last_error": change.error,
        "billable": answer.billable if answer else None,
        "classification": answer.classification if answer else None,
    }


def _is_one_of(idempotency_keys: Sequence[str]) -> ColumnElement[bool]:
    return POINTS.c.idempotency_key.in_(_rows.possible_keys(idempotency_keys))


def _merged(points: Iterable[UsagePoint]) -> Iterable[UsagePoint]:
    # One statement writes each row once: the first point of a key, or the first that brings the outcome.
    merged: dict[str, UsagePoint] = {}
    for point in points:
        known = merged.setdefault(point.idempotency_key, point)
        if known.succeeded is None and point.succeeded is not None:
            merged[point.idempotency_key] = point
    return merged.values()


def _to_url(url: str) -> URL:
    with suppress(ArgumentError, ValueError):
        parsed = make_url(url)
        # What comes behind an @ in the password would be taken for the host, and shown.
        if "@" not in (parsed.host or ""):
            return parsed
    msg = f"outbox: {mask(mask_url(url))!r} is no URL; is what is special in the password percent-encoded?"
    raise ConfigurationError(msg)


def _to_dialect(url: str, *, clocked: bool) -> Dialect:
    kind = DATABASES.get(url.partition(":")[0])
    if kind == "postgresql":
        from ._postgresql import PostgreSQL  # noqa: PLC0415 - it needs a driver that the other does without

        return PostgreSQL(clocked=clocked)
    if kind == "mysql":
        from ._mysql import MySQL  # noqa: PLC0415 - likewise

        return MySQL(clocked=clocked)
    msg = f'outbox: {mask(mask_url(url))!r} names no store; expected "postgresql+psycopg://…" or "mysql+pymysql://…"'
    raise ConfigurationError(msg)

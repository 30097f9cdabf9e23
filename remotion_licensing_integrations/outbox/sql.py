"""
An outbox in SQL: every verb of the contract once, for every database and every connection.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ..errors import OutboxError
from ..points import UsagePoint
from .connection import Connection, Row
from .contract import Outbox
from .forgotten import Forgotten
from .rows import (
    ANY_KEY,
    UNREADABLE,
    possible_keys,
    to_change,
    to_claimed,
    to_counts,
    to_event_counts,
    to_pause,
    to_reason,
    to_row,
    to_stored,
    to_stored_points,
    to_wait,
)
from .statements import Statements, get_statements
from .totals import Dimension, Total, beginning, first_day, to_day, to_totals
from .values import (
    ADOPTED,
    DISCARDABLE,
    EXPECTED_FOR,
    MAX_DELAY,
    Change,
    ClaimedPoint,
    Counts,
    Expected,
    Pause,
    State,
    StoredPoint,
    ignore,
    to_storable,
)

#: What each keyword of `list` asks for.
_CONDITIONS: Final = {
    **{name: f"{name} = %({name})s::text" for name in ("state", "event", "host", "classification", "label")},
    "since": "occurred_at >= %(since)s::{moment}",
    "before": "occurred_at < %(before)s::{moment}",
    "below": "id < %(below)s::bigint",
}
#: States that most points may be in. The index of states would make a database sort all of them to find the latest.
_MANY: Final = (State.PENDING, State.REGISTERED)
_PRUNE_PAUSE: Final = 0.005  # seconds between two steps, in which writers get their turn


class SQLOutbox(Outbox):
    """
    Points in the tables of a database.

    Args:
        connection: The connection to the database.
        clock: The current time in epoch seconds; `None` is the database server's clock, which all machines share, and
            this machine's for SQLite.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] | None = None) -> None:
        self._connection = connection
        self._clock = clock
        self._key: object = None
        self._forgotten = Forgotten()

    def open(self) -> None:
        self._connection.open()

    def exists(self) -> bool:
        return self._connection.exists()

    def close(self) -> None:
        self._connection.close()

    def now(self) -> datetime:
        seconds = self._now().get("now")
        if seconds is None:
            [(seconds,)] = self._connection.rows(f"SELECT {self._statements.clock}", {})
        return datetime.fromtimestamp(float(seconds), UTC)

    def add(self, points: Sequence[UsagePoint]) -> None:
        if kept := self._forgotten.leave_out(points):
            rows = [to_row(point, self._connection.encode) for point in _merged(kept)]
            self._statements.add_rows(self._connection, rows, self._now())
        self._forgotten.drop(points)

    def claim(self, limit: int, *, lease: float, fingerprints: Collection[str] = ()) -> Sequence[ClaimedPoint]:
        token = secrets.token_hex(8)
        values = {"size": limit, "lease": min(lease, MAX_DELAY), "token": token, **self._now()}
        rows = self._statements.claim(self._connection, _with_any(fingerprints), values)
        # Longest due first, then oldest first.
        rows = sorted(rows, key=lambda row: row[:2])
        return [claimed for row in rows if (claimed := self._to_claimed(row, token)) is not None]

    def _to_claimed(self, row: Row, token: str) -> ClaimedPoint | None:
        try:
            return to_claimed(row, token, self._connection.decode)
        except UNREADABLE as error:
            # The row is damaged, or written by a newer version or by hand. It must not stop the others, nor be lost.
            values = {"row": row[1], "token": token, "reason": to_storable(to_reason(error)), **self._now()}
            self._connection.change(self._statements.reject, values)
            return None

    def update(self, changes: Sequence[Change]) -> int:
        if not changes:
            return 0
        # One statement writes each row once: of several changes of one claim the first.
        first: dict[ClaimedPoint, Change] = {}
        for change in changes:
            first.setdefault(change.claimed, change)
        return self._statements.update_rows(self._connection, [*map(to_change, first.values())], self._now())

    def next_due(self, fingerprints: Collection[str] = ()) -> float | None:
        # One by one, as an index answers each.
        wanted = [{"fingerprint": fingerprint, **self._now()} for fingerprint in _with_any(fingerprints)]
        rows = [row for values in wanted for row in self._connection.rows(self._statements.next_due, values)]
        waits = [to_wait(*row) for row in rows]
        return min((wait for wait in waits if wait is not None), default=None)

    def counts(self) -> Counts:
        return to_counts(self._connection.scan(self._statements.counts, self._now()), self._connection.decode)

    def expected(self, fingerprints: Collection[str] = (), *, until: str | None = None) -> Expected:
        since = datetime.fromtimestamp((self._clock or time.time)(), UTC) - EXPECTED_FOR
        sql = self._statements.expected if until is None else self._statements.expected_until
        values = {"since": self._connection.encode(since), **({} if until is None else {"key": until})}
        rows = self._connection.rows(sql, values)
        [last_row] = [row for *_, row in rows if row is not None]
        counts, wanted = [row[:3] for row in rows], _with_any(fingerprints)
        pending = [row[:3] for row in rows if row[3] == State.PENDING]
        return Expected(to_event_counts(counts, wanted), to_event_counts(pending, wanted), last_row)

    def added_after(
        self, row: int, fingerprints: Collection[str] = (), *, until: str | None = None
    ) -> Mapping[str, int]:
        sql = self._statements.added_after if until is None else self._statements.added_until
        values = {"row": row} if until is None else {"row": row, "key": until}
        return to_event_counts(self._connection.rows(sql, values), _with_any(fingerprints))

    def get(self, idempotency_key: str) -> StoredPoint | None:
        sql = self._statements.select("idempotency_key = %(key)s::text")
        for key in possible_keys([idempotency_key]):
            for row in self._connection.rows(sql, {"key": key, "limit": 1, **self._now()}):
                try:
                    return to_stored(row, self._connection.decode)
                except UNREADABLE as error:
                    msg = f"outbox {self!r}: usage point {key} cannot be read: {error}"
                    raise OutboxError(msg) from error
        return None

    def list(
        self,
        state: State | None = None,
        *,
        event: str | None = None,
        host: str | None = None,
        classification: str | None = None,
        label: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        below: int | None = None,
        limit: int = 100,
    ) -> Sequence[StoredPoint]:
        texts = {"state": state, "event": event, "host": host, "classification": classification, "label": label}
        moments = {"since": since, "before": before}
        values: dict[str, Any] = {
            **{name: str(text) for name, text in texts.items() if text is not None},
            **{name: self._connection.encode(moment) for name, moment in moments.items() if moment is not None},
            **({} if below is None else {"below": below}),
        }
        conditions = [_CONDITIONS[name] for name in values]
        if state in _MANY:
            conditions[0] = f"{{unindexed}}{conditions[0]}"
        sql = self._statements.select(*conditions)
        rows = self._connection.rows(sql, {**values, "limit": limit, **self._now()})
        return to_stored_points(rows, self._connection.decode)

    def retry(self, idempotency_keys: Sequence[str] | None = None) -> int:
        if idempotency_keys is None:
            return self._connection.change(self._statements.retry, self._now())
        return self._change_keys(self._statements.retry, idempotency_keys)

    def adopt(self, old: str, new: str) -> int:
        values = {"old": to_storable(old) or "", "new": new, "reason": ADOPTED, **self._now()}
        return self._connection.change(self._statements.adopt, values) if old else 0

    def confirm(self, idempotency_keys: Sequence[str]) -> int:
        return self._change_keys(self._statements.confirm, idempotency_keys)

    def discard(self, idempotency_keys: Sequence[str], states: Collection[State] = DISCARDABLE) -> int:
        discarded = self._change_keys(self._statements.discard(states), idempotency_keys) if states else 0
        self._forgotten.note(idempotency_keys, states, discarded)
        return discarded

    def _change_keys(self, sql: str, idempotency_keys: Iterable[str]) -> int:
        keys = possible_keys(idempotency_keys)
        return self._statements.change_keys(self._connection, sql, keys, self._now()) if keys else 0

    def prune(self, older_than: float, *, on_step: Callable[[int], object] = ignore) -> int:
        pruned = 0
        while count := self._statements.prune(self._connection, {"older_than": older_than, **self._now()}):
            pruned += count
            on_step(count)
            time.sleep(_PRUNE_PAUSE)
        return pruned

    def count_old(self, older_than: float) -> int:
        [(count,)] = self._connection.rows(self._statements.count_old, {"older_than": older_than, **self._now()})
        return int(count)

    def totals(
        self,
        *by: Dimension,
        since: datetime | None = None,
        until: datetime | None = None,
        registered: bool = False,
        waiting: bool = False,
    ) -> Sequence[Total]:
        encode = datetime.timestamp if registered else self._connection.encode
        values: dict[str, Any] = {}
        if since is not None:
            values |= {"since": encode(since), "first": first_day(since)}
        if until is not None:
            values |= {"until": encode(until), "end": first_day(until)}
        sql = self._statements.totals(by, registered=registered, waiting=waiting, limits={*values})
        return to_totals(by, self._connection.scan(sql, values))

    def oldest(self) -> datetime | None:
        [(moment, day)] = self._connection.rows(self._statements.oldest, {})
        moments = [] if moment is None else [self._connection.decode(moment)]
        return min([*moments, *([] if day is None else [beginning(to_day(day))])], default=None)

    def pause(self, deliverer: str, reason: str, seconds: float) -> None:
        statements, now = self._statements, self._now()
        values = {
            "deliverer": to_storable(deliverer) or "",
            "reason": to_storable(reason) or "",
            "seconds": seconds,
            **now,
        }
        # Void pauses go first: a new pause must have a new beginning, and old deliverers must not pile up.
        self._connection.change(statements.forget_pauses, now)
        self._connection.change(statements.pause, values)

    def resume(self, deliverer: str) -> None:
        self._connection.change(self._statements.resume, {"deliverer": to_storable(deliverer) or ""})

    def pauses(self) -> Sequence[Pause]:
        return [to_pause(row) for row in self._connection.rows(self._statements.pauses, self._now())]

    @property
    def _statements(self) -> Statements:
        # The tables of a Django project may change with its routers, and in tests.
        key = self._connection.database, self._connection.tables
        if key != self._key:
            self._current = get_statements(*key, clocked=self._clock is not None or key[0] == "sqlite")
            self._key = key
        return self._current

    def _now(self) -> dict[str, float]:
        if self._clock is not None:
            return {"now": self._clock()}
        return {"now": time.time()} if self._connection.database == "sqlite" else {}


def _with_any(fingerprints: Iterable[str]) -> list[str]:
    return [*dict.fromkeys((ANY_KEY, *fingerprints))]


def _merged(points: Sequence[UsagePoint]) -> Iterable[UsagePoint]:
    if len(points) == 1:
        return points
    # One statement writes each row once: the first point of a key, or the first that brings the outcome.
    merged: dict[str, UsagePoint] = {}
    for point in points:
        known = merged.setdefault(point.idempotency_key, point)
        if known.succeeded is None and point.succeeded is not None:
            merged[point.idempotency_key] = point
    return merged.values()

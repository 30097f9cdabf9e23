"""
An outbox that forgets everything with its process: for tests, and where losing points is acceptable.
"""

from __future__ import annotations

import itertools
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from .._support.forks import ForkLock
from ..points import Registration, UsagePoint
from .contract import Outbox
from .forgotten import Forgotten
from .memory_row import MemoryRow, count_billable
from .rows import to_moment, to_wait
from .totals import Dimension, Group, Total, add_up
from .values import (
    DISCARDABLE,
    EXPECTED_FOR,
    MAX_DELAY,
    PAUSE_GRACE,
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

# One for all outboxes, because its fork hooks stay registered.
_lock: Final = ForkLock()


class MemoryOutbox(Outbox):
    """
    Points in a dictionary of this process.

    Args:
        clock: The current time in epoch seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rows: dict[str, MemoryRow] = {}
        self._ids = itertools.count(1)
        self._pauses: dict[str, Pause] = {}
        self._pruned: Counter[Group] = Counter()
        self._forgotten = Forgotten()

    def __repr__(self) -> str:
        return "MemoryOutbox()"

    def open(self) -> None:
        pass

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def add(self, points: Sequence[UsagePoint]) -> None:
        now = self._clock()
        with _lock:
            for point in self._forgotten.leave_out(points):
                self._add(point, now)
            self._forgotten.drop(points)

    def _add(self, point: UsagePoint, now: float) -> None:
        known = self._rows.get(point.idempotency_key)
        state = State.DEFERRED if point.succeeded is None else State.PENDING
        if known is None:
            self._rows[point.idempotency_key] = MemoryRow(next(self._ids), point, due=now, state=state)
        elif known.state is State.DEFERRED and state is State.PENDING:
            known.point, known.due, known.state = point, now, state

    def claim(self, limit: int, *, lease: float, fingerprints: Collection[str] = ()) -> Sequence[ClaimedPoint]:
        now, token = self._clock(), secrets.token_hex(8)
        with _lock:
            due = [row for row in self._pending_for(fingerprints) if row.due <= now or row.due > now + MAX_DELAY]
            due = sorted(due, key=lambda row: row.due)[:limit]
            for row in due:
                row.note_claim()
                row.due, row.token, row.attempts = now + min(lease, MAX_DELAY), token, row.attempts + 1
            return [
                ClaimedPoint(row.id, token, row.point, row.attempts, to_moment(row.unanswered_since)) for row in due
            ]

    def update(self, changes: Sequence[Change]) -> int:
        now = self._clock()
        with _lock:
            applied = [change for change in changes if self._apply(change, now)]
        return len(applied)

    def _apply(self, change: Change, now: float) -> bool:
        row = self._rows.get(change.claimed.point.idempotency_key)
        if row is None or row.token != change.claimed.token:
            return False
        row.apply(change, now)
        return True

    def next_due(self, fingerprints: Collection[str] = ()) -> float | None:
        now = self._clock()
        with _lock:
            due = [row.due for row in self._pending_for(fingerprints)]
        return to_wait(min(due), max(due), now) if due else None

    def counts(self) -> Counts:
        now = self._clock()
        with _lock:
            states = [row.state for row in self._rows.values()]
            pending, deferred = self._having(State.PENDING), self._having(State.DEFERRED)
        return Counts(
            **{state.value: states.count(state) for state in State},
            claimed=sum(row.token is not None and row.due > now for row in pending),
            oldest_pending=min((row.point.occurred_at for row in pending), default=None),
            oldest_deferred=min((row.point.occurred_at for row in deferred), default=None),
        )

    def expected(self, fingerprints: Collection[str] = (), *, until: str | None = None) -> Expected:
        since = self.now() - EXPECTED_FOR
        with _lock:
            end = self._end(until)
            pending = [row for row in self._having(State.PENDING) if row.id <= end]
            waiting = [row for row in self._having(State.DEFERRED) if row.id <= end and row.point.occurred_at >= since]
            last_row = max((row.id for row in self._rows.values()), default=0)
        by_event = count_billable([*pending, *waiting], fingerprints)
        return Expected(by_event, count_billable(pending, fingerprints), last_row)

    def added_after(
        self, row: int, fingerprints: Collection[str] = (), *, until: str | None = None
    ) -> Mapping[str, int]:
        with _lock:
            end = self._end(until)
            added = [each for each in self._rows.values() if row < each.id <= end and each.state is not State.REJECTED]
        return count_billable(added, fingerprints)

    def get(self, idempotency_key: str) -> StoredPoint | None:
        with _lock:
            row = self._rows.get(idempotency_key)
            return None if row is None else self._stored(row)

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
        with _lock:
            rows = (
                row
                for row in reversed(self._rows.values())
                if state in (None, row.state)
                and event in (None, row.point.event)
                and host in (None, row.point.host)
                and classification in (None, row.registration and row.registration.classification)
                and label in (None, row.point.label)
                and (since is None or row.point.occurred_at >= since)
                and (before is None or row.point.occurred_at < before)
                and (below is None or row.id < below)
            )
            return [self._stored(row) for row in itertools.islice(rows, limit)]

    def retry(self, idempotency_keys: Sequence[str] | None = None) -> int:
        now = self._clock()
        with _lock:
            keys = self._rows if idempotency_keys is None else idempotency_keys
            stuck = self._keys(keys, State.REJECTED, State.HELD)
            for key in stuck:
                row = self._rows[key]
                row.state, row.due, row.attempts, row.unanswered_since = State.PENDING, now, 0, None
            return len(stuck)

    def adopt(self, old: str, new: str) -> int:
        now = self._clock()
        with _lock:
            return sum(row.adopt(old, new, now) for row in self._having(State.PENDING))

    def confirm(self, idempotency_keys: Sequence[str]) -> int:
        now = self._clock()
        with _lock:
            held = self._keys(idempotency_keys, State.HELD)
            for key in held:
                row = self._rows[key]
                row.state, row.last_error, row.registration = State.REGISTERED, None, Registration(None, None)
                row.due = now if row.unanswered_since is None else row.unanswered_since
            return len(held)

    def discard(self, idempotency_keys: Sequence[str], states: Collection[State] = DISCARDABLE) -> int:
        with _lock:
            found = self._keys(idempotency_keys, *states)
            for key in found:
                del self._rows[key]
            self._forgotten.note(idempotency_keys, states, len(found))
            return len(found)

    def prune(self, older_than: float, *, on_step: Callable[[int], object] = ignore) -> int:
        with _lock:
            old = self._old(older_than)
            for key in old:
                self._pruned[self._rows.pop(key).group().prune()] += 1
        on_step(len(old))
        return len(old)

    def count_old(self, older_than: float) -> int:
        with _lock:
            return len(self._old(older_than))

    def _old(self, older_than: float) -> Sequence[str]:
        limit = self._clock() - older_than
        return [key for key, row in self._rows.items() if row.state is State.REGISTERED and row.due < limit]

    def totals(
        self,
        *by: Dimension,
        since: datetime | None = None,
        until: datetime | None = None,
        registered: bool = False,
        waiting: bool = False,
    ) -> Sequence[Total]:
        with _lock:
            groups = [*((row.group(), 1) for row in self._rows.values()), *self._pruned.items()]
        return add_up(groups, by, since=since, until=until, registered=registered, waiting=waiting)

    def oldest(self) -> datetime | None:
        with _lock:
            moments = [row.point.occurred_at.timestamp() for row in self._rows.values()]
            return to_moment(min([*moments, *(group.occurred for group in self._pruned)], default=None))

    def pause(self, deliverer: str, reason: str, seconds: float) -> None:
        now, name = self._clock(), to_storable(deliverer) or ""
        with _lock:
            self._pauses = self._current_pauses(now)
            known = self._pauses.get(name)
            self._pauses[name] = Pause(
                deliverer=name,
                reason=to_storable(reason) or "",
                since=known.since if known else datetime.fromtimestamp(now, UTC),
                until=datetime.fromtimestamp(now + seconds, UTC),
            )

    def resume(self, deliverer: str) -> None:
        with _lock:
            self._pauses.pop(to_storable(deliverer) or "", None)

    def pauses(self) -> Sequence[Pause]:
        with _lock:
            return sorted(
                self._current_pauses(self._clock()).values(), key=lambda pause: (pause.since, pause.deliverer)
            )

    def _current_pauses(self, now: float) -> dict[str, Pause]:
        return {name: pause for name, pause in self._pauses.items() if pause.until.timestamp() + PAUSE_GRACE > now}

    def close(self) -> None:
        pass

    def _having(self, state: State) -> Sequence[MemoryRow]:
        return [row for row in self._rows.values() if row.state is state]

    def _pending_for(self, fingerprints: Collection[str]) -> Sequence[MemoryRow]:
        own = {None, *fingerprints}
        return [row for row in self._having(State.PENDING) if row.point.key_fingerprint in own]

    def _end(self, until: str | None) -> float:
        # The id of the last row that counts.
        if until is None:
            return math.inf
        return self._rows[until].id if until in self._rows else 0

    def _keys(self, keys: Iterable[str], *states: State) -> Sequence[str]:
        return [key for key in dict.fromkeys(keys) if key in self._rows and self._rows[key].state in states]

    def _stored(self, row: MemoryRow) -> StoredPoint:
        return StoredPoint(
            point=row.point,
            state=row.state,
            attempts=row.attempts,
            due=datetime.fromtimestamp(row.due, UTC),
            claimed=row.token is not None and row.due > self._clock(),
            registration=row.registration,
            last_error=row.last_error,
            unanswered_since=to_moment(row.unanswered_since),
            row=row.id,
        )

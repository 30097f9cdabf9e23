"""
An outbox in the project's own database.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, Error, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Case, Count, F, Min, QuerySet, When
from django.db.models.functions import Coalesce

from .._support.forks import ForkLock
from .._support.masking import mask
from ..errors import OutboxError
from ..outbox import (
    MAX_DELAY,
    MAX_ERROR_LENGTH,
    POINT,
    UNREADABLE,
    UNSETTLED,
    Change,
    ClaimedPoint,
    Counts,
    Outbox,
    State,
    StoredPoint,
    possible_keys,
    to_moment,
    to_point,
    to_reason,
    to_stored,
    to_stored_points,
)
from ..points import UsagePoint
from .insertion import insert
from .models import UsagePointRecord
from .records import to_aware, to_columns, to_naive

logger: Final = logging.getLogger("remotion_licensing_integrations")

#: Epoch seconds by the clock that all machines share, as an SQL expression; SQLite has none.
_SERVER_CLOCK: Final = {
    "postgresql": "EXTRACT(EPOCH FROM clock_timestamp())",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1000000",
}
_STUCK: Final = (State.REJECTED.value, State.HELD.value)
_lock: Final = ForkLock()
_PRUNE_STEP: Final = 1_000  # rows
_Numbers = list[int]  # under another name: `list` is a method of the class below


class DjangoOutbox(Outbox):
    """
    Points in the table of `UsagePointRecord`.

    Args:
        using: Alias of the database; `None` asks the routers.
        clock: The present moment in epoch seconds; `None` is the database server's clock where machines share one,
            else this machine's.
    """

    def __init__(self, using: str | None = None, *, clock: Callable[[], float] | None = None) -> None:
        self._using = using
        self._clock = clock
        # By process: a parent's connections are kept, for even to collect them would end its sessions.
        self._used: dict[tuple[int, threading.Thread], BaseDatabaseWrapper] = {}

    def __repr__(self) -> str:
        return f"DjangoOutbox({self.alias!r})"

    @property
    def alias(self) -> str:
        """
        Alias of the database that the points are in.
        """
        return self._using or router.db_for_write(UsagePointRecord) or DEFAULT_DB_ALIAS

    @property
    def table(self) -> str:
        """
        Name of the table.
        """
        return UsagePointRecord._meta.db_table  # noqa: SLF001 - public, whatever its name

    def open(self) -> None:
        self.next_due()

    def add(self, points: Sequence[UsagePoint]) -> None:
        if not points:
            return
        connection = connections[self.alias]
        used = connection.connection
        with self._refusals(connection):
            # Not asked first whether the connection lives, which would be another trip to the server in each request.
            # To add twice is to add once.
            try:
                self._insert(connection, points)
            except Error:
                if not _is_lost(connection, used):
                    raise
                connection.close()
                self._insert(connection, points)

    def _insert(self, connection: BaseDatabaseWrapper, points: Sequence[UsagePoint]) -> None:
        if len(points) == 1 and connection.get_autocommit():
            # One statement is a transaction by itself.
            insert(connection, points, self._server_clock(connection) or self._now())
            return
        # A savepoint inside a test's transaction, which a refused point must not spoil.
        with transaction.atomic(using=self.alias):
            insert(connection, points, self._now())

    def claim(self, limit: int, *, lease: float) -> Sequence[ClaimedPoint]:
        with self._session():
            now, token = self._now(), secrets.token_hex(8)
            taken = {
                # A token is left of a claim that was never written back: its point may have been sent. First, because
                # MySQL assigns from left to right.
                "unanswered_since": Coalesce("unanswered_since", Case(When(token__isnull=False, then="due"))),
                "due": now + min(lease, MAX_DELAY),
                "token": token,
                "attempts": F("attempts") + 1,
            }
            due = self._pending.filter(due__lte=now)
            # Nothing is put off so far: the clock has gone back.
            far = self._pending.filter(due__gt=now + MAX_DELAY)
            numbers = self._take(due, limit, taken)
            if len(numbers) < limit:
                numbers += self._take(far, limit - len(numbers), taken)
            found = self._pending.filter(token=token).in_bulk(numbers)
            records = [found[number] for number in numbers if number in found]
            return [claimed for record in records if (claimed := self._to_claimed(record, token, now)) is not None]

    def _take(self, due: QuerySet[UsagePointRecord], limit: int, taken: dict[str, object]) -> _Numbers:
        # By conditional update where the database cannot skip locked rows: the later of two finds them changed.
        oldest = due.order_by("due", "pk").values_list("pk", flat=True)[:limit]
        if not connections[self.alias].features.has_select_for_update_skip_locked:
            return self._update(due, list(oldest), taken)
        with transaction.atomic(using=self.alias):
            return self._update(due, list(oldest.select_for_update(skip_locked=True)), taken)

    def _update(self, due: QuerySet[UsagePointRecord], numbers: _Numbers, taken: dict[str, object]) -> _Numbers:
        if numbers:
            due.filter(pk__in=numbers).update(**taken)
        return numbers

    def settle(self, changes: Sequence[Change]) -> int:
        with self._session(), transaction.atomic(using=self.alias):
            now = self._now()
            return sum(self._apply(change, now) for change in changes)

    def _apply(self, change: Change, now: float) -> int:
        answer = change.registration
        row = self._pending.filter(pk=change.claimed.row, token=change.claimed.token)
        if change.unanswered:
            row.filter(unanswered_since=None).update(unanswered_since=now)
        return row.update(
            state=change.state.value,
            due=now + change.delay,
            token=None,
            attempts=F("attempts") - int(not change.is_attempt),
            last_error=change.error[:MAX_ERROR_LENGTH] if change.error else None,
            billable=answer.billable if answer else None,
            classification=answer.classification if answer else None,
        )

    def next_due(self) -> float | None:
        with self._session():
            first: float | None = self._pending.aggregate(first=Min("due"))["first"]
            if first is None:
                return None
            wait = first - self._now()
            return 0.0 if wait > MAX_DELAY else max(0.0, wait)

    def counts(self) -> Counts:
        with self._session():
            by_state = dict(self._rows.order_by().values_list("state").annotate(Count("pk")))
            oldest = dict(self._rows.order_by().values_list("state").annotate(Min("occurred_at")))
            return Counts(
                **{state.value: by_state.get(state.value, 0) for state in State},
                claimed=self._pending.filter(due__gt=self._now()).exclude(token=None).count(),
                oldest_pending=to_aware(oldest.get(State.PENDING.value)),
                oldest_deferred=to_aware(oldest.get(State.DEFERRED.value)),
            )

    def get(self, idempotency_key: str) -> StoredPoint | None:
        with self._session():
            record = self._rows.filter(idempotency_key__in=possible_keys([idempotency_key])).first()
            now = self._now()
        try:
            return None if record is None else to_stored(to_columns(record), now)
        except UNREADABLE as error:
            msg = f"outbox in database {self.alias!r}: usage point {idempotency_key} cannot be read: {error}"
            raise OutboxError(msg) from error

    def list(
        self, state: State | None = None, *, before: datetime | None = None, limit: int = 100
    ) -> Sequence[StoredPoint]:
        with self._session():
            now = self._now()
            records = self._rows.all() if state is None else self._rows.filter(state=state.value)
            if before is not None:
                records = records.filter(occurred_at__lt=to_naive(before))
            return to_stored_points(map(to_columns, records.order_by("-pk")[:limit]), now)

    def retry(self, idempotency_keys: Sequence[str] | None = None) -> int:
        with self._session():
            return self._stuck(idempotency_keys).update(
                state=State.PENDING.value, due=self._now(), attempts=0, unanswered_since=None
            )

    def discard(self, idempotency_keys: Sequence[str], states: Collection[State] = UNSETTLED) -> int:
        with self._session():
            unsettled = self._rows.filter(state__in=[state.value for state in states])
            return unsettled.filter(idempotency_key__in=possible_keys(idempotency_keys)).delete()[0]

    def prune(self, older_than: float) -> int:
        with self._session():
            old = self._rows.filter(state=State.REGISTERED.value, due__lt=self._now() - older_than)
            pruned = 0
            while numbers := list(old.values_list("pk", flat=True)[:_PRUNE_STEP]):
                pruned += self._rows.filter(pk__in=numbers).delete()[0]
            return pruned

    def close(self) -> None:
        """
        Close the connections that ended threads have left; those of running threads are theirs.
        """
        with _lock:
            self._close_left()

    @property
    def _rows(self) -> QuerySet[UsagePointRecord]:
        return UsagePointRecord.objects.using(self.alias)

    @property
    def _pending(self) -> QuerySet[UsagePointRecord]:
        return self._rows.filter(state=State.PENDING.value)

    def _stuck(self, idempotency_keys: Sequence[str] | None) -> QuerySet[UsagePointRecord]:
        stuck = self._rows.filter(state__in=_STUCK)
        return stuck if idempotency_keys is None else stuck.filter(idempotency_key__in=possible_keys(idempotency_keys))

    def _now(self) -> float:
        connection = connections[self.alias]
        expression = self._server_clock(connection)
        if expression is None:
            return (self._clock or time.time)()
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {expression}")
            return float(cursor.fetchone()[0])

    def _server_clock(self, connection: BaseDatabaseWrapper) -> str | None:
        return _SERVER_CLOCK.get(connection.vendor) if self._clock is None else None

    @contextmanager
    def _session(self) -> Generator[None]:
        connection = connections[self.alias]
        with self._refusals(connection):
            if _is_lost(connection, connection.connection):
                connection.close()
            yield

    @contextmanager
    def _refusals(self, connection: BaseDatabaseWrapper) -> Generator[None]:
        try:
            yield
        except (Error, ImproperlyConfigured) as error:
            if not connection.in_atomic_block:
                connection.close()
            reason = mask(str(error).partition("\n")[0])
            msg = f"outbox in database {self.alias!r}: {reason}; has `manage.py migrate` run?"
            raise OutboxError(msg) from error
        finally:
            self._note(connection)

    def _note(self, connection: BaseDatabaseWrapper) -> None:
        user = os.getpid(), threading.current_thread()
        if self._used.get(user) is not connection:
            with _lock:
                self._close_left()
                self._used[user] = connection

    def _close_left(self) -> None:
        left = [(pid, thread) for pid, thread in self._used if pid == os.getpid() and not thread.is_alive()]
        for connection in map(self._used.pop, left):
            connection.inc_thread_sharing()
            connection.close()
            connection.dec_thread_sharing()

    def _to_claimed(self, record: UsagePointRecord, token: str, now: float) -> ClaimedPoint | None:
        try:
            point = to_point(to_columns(record)[: len(POINT)])
            return ClaimedPoint(record.pk, token, point, record.attempts, to_moment(record.unanswered_since))
        except UNREADABLE as error:
            # Written by a newer version or by hand: it must not stop the others, nor be lost.
            reason = to_reason(error)
            self._rows.filter(pk=record.pk).update(state=State.REJECTED.value, due=now, token=None, last_error=reason)
            return None


def _is_lost(connection: BaseDatabaseWrapper, used: object) -> bool:
    # A server that was restarted, or a proxy that hung up, leaves a connection that fails at its next use. After a
    # transaction of ours Django has replaced it already; inside of somebody else's nothing can be replaced.
    ours = connection.autocommit and not connection.in_atomic_block
    return ours and used is not None and (connection.connection is not used or not connection.is_usable())

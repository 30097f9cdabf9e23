"""
The contract of an outbox: the durable store between a finished request and the licensing API.

A point is *deferred* while its work goes on, then *pending* until the API has taken it (*registered*), has refused it
for good (*rejected*), or may or may not have taken it (*held*). Claiming a pending point sets its due time to
the end of the lease and stores a fencing token. So an expired lease needs no cleanup, and a write with an outdated
token changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ..points import UsagePoint, utc_now
from .values import DISCARDABLE, Change, ClaimedPoint, Counts, Expected, Finding, Pause, State, StoredPoint, ignore

if TYPE_CHECKING:
    from .totals import Dimension, Total


class Outbox(ABC):
    """
    A durable store of usage points, shared by every process that opens it.

    Every method may block on storage and may be called from any thread; after a fork the child may use the object, too.
    When the store refuses, a method changes nothing and raises `OutboxError`.
    """

    @abstractmethod
    def open(self) -> None:
        """
        Make the store ready, creating or migrating it; the other methods do so by themselves when needed.
        """

    def exists(self) -> bool:
        """
        Return whether the store exists already, so that opening it creates nothing.
        """
        return True

    def examine(self) -> Iterable[Finding]:
        """
        Return the problems that only the store itself can see; this changes nothing.
        """
        return ()

    def now(self) -> datetime:
        """
        Return the current time by the store's clock, which due times go by.
        """
        return utc_now()

    @abstractmethod
    def add(self, points: Sequence[UsagePoint]) -> None:
        """
        Store *points*, all or none: pending and due, or deferred without an outcome. They are durable when it returns.

        A point whose idempotency key is already stored stays as it is. But a point with an outcome replaces a deferred
        one, which is then pending and due. A deferred one that was discarded before it came is left out, see `discard`.
        """

    @abstractmethod
    def claim(self, limit: int, *, lease: float, fingerprints: Collection[str] = ()) -> Sequence[ClaimedPoint]:
        """
        Take up to *limit* due points for *lease* seconds, at most 7,200; longest due first, then oldest first.

        Points for a licence key without one of these *fingerprints* are left to the deliverers that have it; those
        without a fingerprint are for any key. A pending point is eligible when its due time has come, by the store's
        clock: a new, rescheduled or released one, or one whose lease ran out; that one may have been sent, so it is
        unanswered since then. No two claims get
        the same point while a lease lasts. Each claim counts as an attempt. A row that cannot be read as a usage point
        becomes rejected.
        """

    @abstractmethod
    def update(self, changes: Sequence[Change]) -> int:
        """
        Apply *changes*, all or none, and return how many took effect: those whose claim still stands.
        """

    @abstractmethod
    def next_due(self, fingerprints: Collection[str] = ()) -> float | None:
        """
        Return the seconds until a claim with *fingerprints* gets a point, 0 when it does now, `None` without a point.
        """

    @abstractmethod
    def counts(self) -> Counts:
        """
        Count the points by state.
        """

    @abstractmethod
    def expected(self, fingerprints: Collection[str] = (), *, until: str | None = None) -> Expected:
        """
        Count the points that the API has not taken yet and may bill: in production, and not failed.

        They are pending, or have been deferred for less than a day; and they are for a licence key
        with one of *fingerprints*, or for any. With *until*, an idempotency key, only those up to that point, in the
        order of the store, which is the same for all processes; none when the store does not have it.
        """

    @abstractmethod
    def added_after(
        self, row: int, fingerprints: Collection[str] = (), *, until: str | None = None
    ) -> Mapping[str, int]:
        """
        Count, by event, the points that the API may bill and that were added after *row* of an earlier `expected()`.

        Rejected ones are left out. *until* is the same as in `expected()`.
        """

    @abstractmethod
    def get(self, idempotency_key: str) -> StoredPoint | None:
        """
        Return the point with this key; a row that cannot be read as one raises `OutboxError`.
        """

    @abstractmethod
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
        """
        Return the latest points that meet all conditions, newest first.

        Those of *since* or later that occurred before *before*; with *below*, those that were stored before the one
        with this `StoredPoint.row`, to read on after it. Rows that cannot be read are left out and logged.
        """

    @abstractmethod
    def retry(self, idempotency_keys: Sequence[str] | None = None) -> int:
        """
        Make rejected and held points pending and due, with the same key; without keys, all of them.

        Returns how many.
        """

    @abstractmethod
    def adopt(self, old: str, new: str) -> int:
        """
        Make pending points for the licence key with the fingerprint *old* due for the one with *new*.

        One that was sent and got no answer becomes held, because the API may have counted it for the old key. Points
        that are claimed now stay as they are. Returns how many it has changed.
        """

    @abstractmethod
    def confirm(self, idempotency_keys: Sequence[str]) -> int:
        """
        Make held points with these keys registered, without a classification: the API has counted them.

        They count as registered when they were first sent. Returns how many.
        """

    @abstractmethod
    def discard(self, idempotency_keys: Sequence[str], states: Collection[State] = DISCARDABLE) -> int:
        """
        Delete for good, in one step, the points with these keys that are in one of *states*.

        With only `State.DEFERRED` a job forgets its deferral, which its request may not have added yet: this object,
        in this process, then leaves it out when it comes.

        Returns how many.
        """

    @abstractmethod
    def prune(self, older_than: float, *, on_step: Callable[[int], object] = ignore) -> int:
        """
        Delete points that were registered more than *older_than* seconds ago, and return how many.

        Each is deleted and added to its daily total in one step. It calls *on_step* with the number of points of each
        step.
        """

    @abstractmethod
    def totals(
        self,
        *by: Dimension,
        since: datetime | None = None,
        until: datetime | None = None,
        registered: bool = False,
        waiting: bool = False,
    ) -> Sequence[Total]:
        """
        Count the points of each group by the dimensions *by*, pruned points included; groups come in no order.

        Days are in UTC. Of a pruned point only the day is known: it counts as if that day's beginning were its moment.

        Args:
            *by: `"day"`, `"event"`, `"host"`, `"label"`, `"key_fingerprint"`, `"state"`, `"classification"` and
                `"unanswered"`, or some of these; none: all points are one group.
            since: Only points that occurred then or later.
            until: Only points that occurred earlier.
            registered: Only registered points, and the moment at which they were registered instead of the one at
                which they occurred.
            waiting: Only points that are not registered.
        """

    @abstractmethod
    def count_old(self, older_than: float) -> int:
        """
        Count the points that `prune` would delete.
        """

    @abstractmethod
    def oldest(self) -> datetime | None:
        """
        Return when the oldest point occurred, or of a pruned one the beginning of its day; `None` without points.
        """

    @abstractmethod
    def pause(self, deliverer: str, reason: str, seconds: float) -> None:
        """
        Note that *deliverer*, a name that no other has, delivers nothing for *reason* and tries again in *seconds*.

        A pause that is noted again keeps its beginning. One that is not renewed within 60 seconds after its
        end is void: its deliverer is gone. A deliverer that tries again therefore renews it for as long as that takes.
        """

    @abstractmethod
    def resume(self, deliverer: str) -> None:
        """
        Forget that *deliverer* was paused.
        """

    @abstractmethod
    def pauses(self) -> Sequence[Pause]:
        """
        Return the deliverers that are paused now, the longest pause first.
        """

    @abstractmethod
    def close(self) -> None:
        """
        Close the store; a later call opens it again. Safe to call twice.
        """

"""
The contract of an outbox: the durable store between a finished request and the licensing API.

A point is *deferred* while its work goes on, then *pending* until the API has taken it (*registered*), has refused it
for good (*rejected*), or nobody can tell whether it was taken (*held*). To *claim* a pending point is to move its due
time to the end of a lease and to note a fencing token on it; so a lease that runs out needs no clean-up, and whoever
comes late with an old token changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from ..points import Registration, UsagePoint

#: Seconds; nothing is ever put off further than this, so a point due later than that is due now (the clock went back).
MAX_DELAY: Final = 7_200.0

MAX_ERROR_LENGTH: Final = 500  # characters of an error or a classification kept with a point


class State(StrEnum):
    """
    Where a stored usage point stands.
    """

    DEFERRED = "deferred"
    PENDING = "pending"
    REGISTERED = "registered"
    REJECTED = "rejected"
    HELD = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPoint:
    """
    A usage point with what has happened to it.

    Attributes:
        attempts: How often it was sent, the current claim included.
        due: When it is delivered next while pending, else when it came into its state.
        claimed: Whether a deliverer has it now.
        registration: The API's answer, once registered.
        last_error: Why the last attempt failed.
        unanswered_since: When it was first sent without an answer, so that it may have been counted.
    """

    point: UsagePoint
    state: State
    attempts: int
    due: datetime
    claimed: bool
    registration: Registration | None
    last_error: str | None
    unanswered_since: datetime | None

    def to_json(self) -> dict[str, Any]:
        """
        Return everything as JSON values, the point's own fields at the top level.
        """
        answer = self.registration
        return self.point.to_json() | {
            "state": self.state.value,
            "attempts": self.attempts,
            "due": self.due.isoformat(),
            "claimed": self.claimed,
            "billable": answer.billable if answer else None,
            "classification": answer.classification if answer else None,
            "last_error": self.last_error,
            "unanswered_since": self.unanswered_since.isoformat() if self.unanswered_since else None,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """
    What becomes of a claimed point; made by the methods of `ClaimedPoint`, applied by `Outbox.settle`.

    Attributes:
        delay: Seconds until the point is due again; 0 unless it stays pending.
        is_attempt: Whether the claim counts as an attempt; queue-level trouble is not the point's fault.
        unanswered: Whether the point may have been counted without our knowing.
    """

    claimed: ClaimedPoint
    state: State
    delay: float = 0.0
    error: str | None = None
    registration: Registration | None = None
    is_attempt: bool = True
    unanswered: bool = False

    def __post_init__(self) -> None:
        answer = self.registration
        object.__setattr__(self, "error", _storable(self.error))
        if answer is not None:
            answer = replace(answer, classification=_storable(answer.classification))
            object.__setattr__(self, "registration", answer)


def _storable(text: str | None) -> str | None:
    # From outside: no store takes lone surrogates, PostgreSQL takes no NUL, and nobody needs all of a long text.
    if not text:
        return None
    return text[:MAX_ERROR_LENGTH].encode(errors="replace").decode().replace("\0", "?")


@dataclass(frozen=True, slots=True)
class ClaimedPoint:
    """
    A usage point that one deliverer owns until its lease ends.

    Attributes:
        row: The store's own name of the point.
        token: Fencing token of the claim.
        attempts: How often it has been sent, this claim included; starts at 1.
        unanswered_since: When it was first sent without an answer.
    """

    row: int
    token: str
    point: UsagePoint
    attempts: int
    unanswered_since: datetime | None

    def register(self, registration: Registration) -> Change:
        """
        The API has taken the point.
        """
        return Change(self, State.REGISTERED, registration=registration)

    def reschedule(self, delay: float, error: str, *, unanswered: bool = False) -> Change:
        """
        Try again in *delay* seconds.
        """
        return Change(self, State.PENDING, min(delay, MAX_DELAY), error, unanswered=unanswered)

    def reject(self, error: str) -> Change:
        """
        The API refuses this point for good; it stays visible and can be retried by hand.
        """
        return Change(self, State.REJECTED, error=error)

    def hold(self, error: str, *, unanswered: bool = False) -> Change:
        """
        Nobody can tell whether the API has counted the point; it waits for a person.
        """
        return Change(self, State.HELD, error=error, unanswered=unanswered)

    def release(self, error: str | None = None, *, delay: float = 0.0) -> Change:
        """
        Give the point back as if this claim had not been, due in *delay* seconds.
        """
        return Change(self, State.PENDING, min(delay, MAX_DELAY), error, is_attempt=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """
    How many points are in each state.

    Attributes:
        claimed: How many of the pending ones a deliverer has now.
        oldest_pending: When the oldest pending point occurred.
        oldest_deferred: When the oldest deferred point was deferred.
    """

    deferred: int = 0
    pending: int = 0
    claimed: int = 0
    registered: int = 0
    rejected: int = 0
    held: int = 0
    oldest_pending: datetime | None = None
    oldest_deferred: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """
    A deliverer that delivers nothing for the time being.

    Attributes:
        deliverer: Its name.
        reason: Why.
        since: Since when.
        until: When it tries again.
    """

    deliverer: str
    reason: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that was looked at.
    """

    level: Literal["ok", "warning", "error"]
    text: str


#: The states of points that nobody delivers, and that a person may therefore delete.
UNSETTLED: Final = frozenset({State.DEFERRED, State.REJECTED, State.HELD})

#: Seconds after which a pause that was not renewed is void; more than one attempt to register a point takes.
PAUSE_GRACE: Final = 60.0


class Outbox(ABC):
    """
    A durable store of usage points, shared by every process that opens it.

    Every method may block on storage and may be called from any thread; after a fork the child may go on using the
    object. All raise `OutboxError` when the store refuses, having changed nothing.
    """

    @abstractmethod
    def open(self) -> None:
        """
        Make the store ready, creating or migrating it; the other methods do so by themselves when needed.
        """

    def exists(self) -> bool:
        """
        Return whether the store is there already, so that to open it makes nothing new.
        """
        return True

    def examine(self) -> Iterable[Finding]:
        """
        Return what is wrong with the store that only the store itself can know; it changes nothing.
        """
        return ()

    @abstractmethod
    def add(self, points: Sequence[UsagePoint]) -> None:
        """
        Store *points*, all or none: pending and due, without an outcome deferred. They are durable when this returns.

        A point whose idempotency key is already stored is left as it is. But a deferred one gives way to a point that
        brings its outcome, and is pending and due then.
        """

    @abstractmethod
    def claim(self, limit: int, *, lease: float) -> Sequence[ClaimedPoint]:
        """
        Take up to *limit* due points for *lease* seconds, at most `MAX_DELAY`; longest due first, then oldest first.

        Eligible is a pending point whose due time has come, by the store's clock: new, rescheduled, released, or of a
        claim whose lease ran out; that one may have been sent, so it is unanswered since then. No two claims get the
        same point while a lease lasts. Each claim counts as an attempt. A row that cannot be read as a usage point
        becomes rejected.
        """

    @abstractmethod
    def settle(self, changes: Sequence[Change]) -> int:
        """
        Apply *changes*, all or none, and return how many took effect: those whose claim still stands.
        """

    @abstractmethod
    def next_due(self) -> float | None:
        """
        Return the seconds until a point can be claimed, 0 when one can, `None` when none is pending.
        """

    @abstractmethod
    def counts(self) -> Counts:
        """
        Count the points by state.
        """

    @abstractmethod
    def get(self, idempotency_key: str) -> StoredPoint | None:
        """
        Return the point with this key; a row that cannot be read as one raises `OutboxError`.
        """

    @abstractmethod
    def list(
        self, state: State | None = None, *, before: datetime | None = None, limit: int = 100
    ) -> Sequence[StoredPoint]:
        """
        Return the latest points, newest first, of *state* or of all; rows that cannot be read are left out and logged.

        With *before* only those that occurred earlier.
        """

    @abstractmethod
    def retry(self, idempotency_keys: Sequence[str] | None = None) -> int:
        """
        Make rejected and held points pending and due, with the same key; all of them when no keys are given.

        Returns how many.
        """

    @abstractmethod
    def discard(self, idempotency_keys: Sequence[str], states: Collection[State] = UNSETTLED) -> int:
        """
        Delete the points with these keys for good, in one step those that are in one of *states* by then.

        Returns how many.
        """

    @abstractmethod
    def prune(self, older_than: float) -> int:
        """
        Delete points that were registered more than *older_than* seconds ago, and return how many.
        """

    def pause(self, deliverer: str, reason: str, seconds: float) -> None:  # noqa: B027 - not every store yet
        """
        Note that *deliverer*, a name of its own, delivers nothing for *reason* until it tries again in *seconds*.

        Noted again for the same deliverer, the moment since when stays. A note that is not renewed `PAUSE_GRACE`
        seconds after its time is void: its deliverer is gone.
        """

    def resume(self, deliverer: str) -> None:  # noqa: B027 - not every store yet
        """
        Forget that *deliverer* was paused.
        """

    def pauses(self) -> Sequence[Pause]:
        """
        Return who delivers nothing just now, and why, the longest pause first.
        """
        return ()

    @abstractmethod
    def close(self) -> None:
        """
        Let go of the store; a later call opens it again. Safe to call twice.
        """

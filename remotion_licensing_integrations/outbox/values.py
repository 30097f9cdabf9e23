"""
The values that an outbox stores, hands out and takes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from ..points import Registration, UsagePoint

#: Seconds. No delay is longer, so when a point is due later than that, the clock went back and the point is due now.
MAX_DELAY: Final = 7_200.0

#: Why `Outbox.adopt` holds a point.
ADOPTED: Final = "it was sent for another licence key, got no answer, and may have been counted"
MAX_ERROR_LENGTH: Final = 500  # characters of an error or a classification kept with a point

#: Seconds for which a pause that was not renewed stands after its end; its deliverer has so long to begin a probe.
PAUSE_GRACE: Final = 60.0


class State(StrEnum):
    """
    The state of a stored usage point.
    """

    #: Its work goes on elsewhere; it has no outcome yet.
    DEFERRED = "deferred"
    #: It has an outcome and is not registered yet.
    PENDING = "pending"
    #: The licensing API has accepted it.
    REGISTERED = "registered"
    #: The licensing API refuses it for good; a person can retry it.
    REJECTED = "rejected"
    #: It was sent, and nobody knows whether the API has counted it; a person decides.
    HELD = "held"


#: The states of points that are not delivered, so that a person may delete them.
DISCARDABLE: Final = frozenset({State.DEFERRED, State.REJECTED, State.HELD})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPoint:
    """
    A usage point with what has happened to it.

    Attributes:
        row: The store's own id of the point; points that were stored later have higher ones.
        attempts: How often it was sent, the current claim included.
        due: When a pending point is delivered next; for others, when they came into their state.
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
    row: int = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """
        Return all fields but the row as JSON values, with the point's own fields at the top level.
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
    The change to a claimed point; made by the methods of `ClaimedPoint`, applied by `Outbox.update`.

    Attributes:
        delay: Seconds until the point is due again; 0 unless it stays pending.
        is_attempt: Whether the claim counts as an attempt; a problem of all points uses up none.
        unanswered: Whether the point may have been counted although no answer came.
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
        object.__setattr__(self, "error", to_storable(self.error))
        if answer is not None:
            answer = replace(answer, classification=to_storable(answer.classification))
            object.__setattr__(self, "registration", answer)


def to_storable(text: str | None) -> str | None:
    """
    Return foreign *text* in a form that every store takes: cut, without NUL and lone surrogates; `None` when empty.
    """
    if not text:
        return None
    return text[:MAX_ERROR_LENGTH].encode(errors="replace").decode().replace("\0", "?")


def ignore(_: int) -> None:
    """
    Do nothing: the callback of those who do not ask how far the work is.
    """


@dataclass(frozen=True, slots=True)
class ClaimedPoint:
    """
    A usage point that one deliverer owns until its lease ends.

    Attributes:
        row: The store's own id of the point.
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
        Mark the point as registered: the API has taken it.
        """
        return Change(self, State.REGISTERED, registration=registration)

    def reschedule(self, delay: float, error: str, *, unanswered: bool = False) -> Change:
        """
        Try again in *delay* seconds.
        """
        return Change(self, State.PENDING, min(delay, MAX_DELAY), error, unanswered=unanswered)

    def reject(self, error: str) -> Change:
        """
        Mark the point as rejected: the API refuses it for good. It stays visible and can be retried by hand.
        """
        return Change(self, State.REJECTED, error=error)

    def hold(self, error: str, *, unanswered: bool = False) -> Change:
        """
        Mark the point as held: the API may or may not have counted it, so it waits for a person.
        """
        return Change(self, State.HELD, error=error, unanswered=unanswered)

    def release(self, error: str | None = None, *, delay: float = 0.0) -> Change:
        """
        Give the point back as if it had not been claimed, due in *delay* seconds.
        """
        return Change(self, State.PENDING, min(delay, MAX_DELAY), error, is_attempt=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """
    How many points are in each state.

    Attributes:
        claimed: How many of the pending points a deliverer has now.
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


#: Seconds after which work that has not ended is no longer expected to be billed.
EXPECTED_FOR: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Expected:
    """
    The points that may be billed and that the API has not taken yet.

    Attributes:
        by_event: How many there are of each event.
        pending: How many of these have a known outcome, by event: the API may take one at any moment.
        last_row: The store's own id of its latest point, for `Outbox.added_after`.
    """

    by_event: Mapping[str, int]
    pending: Mapping[str, int]
    last_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """
    The pause of a deliverer.

    Attributes:
        deliverer: Name of the deliverer.
        reason: Why it is paused.
        since: When the pause began; aware, in UTC.
        until: When the deliverer tries again; aware, in UTC.
    """

    deliverer: str
    reason: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One result of `Outbox.examine` or of `remotion-licensing doctor`.

    Attributes:
        level: `"ok"`, `"warning"`, or `"error"`: something does not work.
        name: What it is, the same in every version; `docs/reference/doctor.md` lists them all.
        text: What it means here, and what to do.
    """

    level: Literal["ok", "warning", "error"]
    name: str
    text: str

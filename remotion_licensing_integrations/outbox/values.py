"""
What an outbox holds, hands out and takes back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from ..points import Registration, UsagePoint

#: Seconds; nothing is ever put off further than this, so a point due later than that is due now (the clock went back).
MAX_DELAY: Final = 7_200.0

MAX_ERROR_LENGTH: Final = 500  # characters of an error or a classification kept with a point
MAX_LABEL_LENGTH: Final = 100  # characters of the app's own word for a point
MAX_FINGERPRINT_LENGTH: Final = 64  # characters of what tells licence keys apart

#: Seconds after which a pause that was not renewed is void; more than one attempt to register a point takes.
PAUSE_GRACE: Final = 60.0


class State(StrEnum):
    """
    Where a stored usage point stands.
    """

    DEFERRED = "deferred"
    PENDING = "pending"
    REGISTERED = "registered"
    REJECTED = "rejected"
    HELD = "held"


#: The states of points that are not delivered, and that a person may therefore delete.
UNSETTLED: Final = frozenset({State.DEFERRED, State.REJECTED, State.HELD})


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
        object.__setattr__(self, "error", to_storable(self.error))
        if answer is not None:
            answer = replace(answer, classification=to_storable(answer.classification))
            object.__setattr__(self, "registration", answer)


def to_storable(text: str | None) -> str | None:
    """
    Return *text* from outside as every store takes it: cut, without NUL and lone surrogates; `None` when empty.
    """
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
        It cannot be told whether the API has counted the point; it waits for a person.
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

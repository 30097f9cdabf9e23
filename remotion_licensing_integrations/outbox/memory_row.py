"""
The row of a usage point in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ..points import Registration, UsagePoint
from .totals import Group
from .values import ADOPTED, Change, State


@dataclass(slots=True)
class MemoryRow:
    """
    A usage point with what has happened to it; moments are epoch seconds.
    """

    id: int
    point: UsagePoint
    due: float
    state: State
    attempts: int = 0
    token: str | None = None
    registration: Registration | None = None
    last_error: str | None = None
    unanswered_since: float | None = None

    def note_claim(self) -> None:
        """
        Note that a claim that was never updated may have sent the point.
        """
        if self.token is not None and self.unanswered_since is None:
            self.unanswered_since = self.due

    def apply(self, change: Change, now: float) -> None:
        """
        Take over what *change* says of the claimed point.
        """
        self.state, self.due, self.token = change.state, now + change.delay, None
        self.attempts -= not change.is_attempt
        self.last_error = change.error
        self.registration = change.registration
        if change.unanswered and self.unanswered_since is None:
            self.unanswered_since = now

    def adopt(self, old: str, new: str, now: float) -> bool:
        """
        Make the point due for the *new* licence key, see `Outbox.adopt`; return whether it was for the *old* one.
        """
        if self.point.key_fingerprint != old or (self.token is not None and self.due > now):
            return False
        self.note_claim()
        if self.unanswered_since is not None:
            self.state, self.last_error = State.HELD, ADOPTED
        self.point, self.due, self.token = replace(self.point, key_fingerprint=new), now, None
        return True

    def group(self) -> Group:
        """
        Return what the point is counted by.
        """
        return Group(
            occurred=self.point.occurred_at.timestamp(),
            due=self.due,
            event=self.point.event,
            host=self.point.host,
            label=self.point.label,
            key_fingerprint=self.point.key_fingerprint,
            state=self.state,
            classification=self.registration.classification if self.registration else None,
            unanswered=self.unanswered_since is not None or self.token is not None,
        )


def count_billable(rows: Iterable[MemoryRow], fingerprints: Collection[str]) -> Mapping[str, int]:
    """
    Count, by event, the points of *rows* that the API may bill, for licence keys with one of *fingerprints* or for any.
    """
    points = [row.point for row in rows if row.point.key_fingerprint in {None, *fingerprints}]
    return Counter(point.event for point in points if point.is_production and point.succeeded is not False)

"""
The row of a usage point in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..points import Registration, UsagePoint
from .totals import Group
from .values import State


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

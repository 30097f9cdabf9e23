"""
The value of the fixture `remotion_usage`.
"""

from __future__ import annotations

from ..points import UsagePoint
from ..recording import Entry, Keeper


class RecordedUsage(Keeper):
    """
    The usage points recorded while a test runs.

    Attributes:
        points: Those with an outcome, oldest first.
        deferred: Those whose outcome is still to come, oldest first.
    """

    def __init__(self) -> None:
        self.points: list[UsagePoint] = []
        self.deferred: list[UsagePoint] = []

    def keep(self, entry: Entry) -> bool:
        """
        Keep *entry* like an outbox: one for each idempotency key, and an outcome replaces its deferred point.
        """
        key = entry.idempotency_key
        is_new = all(point.idempotency_key != key for point in self.points)
        is_deferral = isinstance(entry, UsagePoint) and entry.succeeded is None
        if not is_deferral:
            self.deferred[:] = [point for point in self.deferred if point.idempotency_key != key]
        if isinstance(entry, UsagePoint) and is_new and all(point.idempotency_key != key for point in self.deferred):
            (self.deferred if is_deferral else self.points).append(entry)
        return True

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
        self._forgotten: set[str] = set()

    def keep(self, entry: Entry) -> bool:
        """
        Keep *entry* like an outbox: one for each idempotency key, and an outcome replaces its deferred point.
        """
        key = entry.idempotency_key
        kept = [point for point in self.deferred if point.idempotency_key != key]
        if isinstance(entry, UsagePoint) and entry.succeeded is None:
            is_known = len(kept) < len(self.deferred) or any(point.idempotency_key == key for point in self.points)
            if not is_known and key not in self._forgotten:
                self.deferred.append(entry)
            self._forgotten.discard(key)
            return True
        if not isinstance(entry, UsagePoint) and len(kept) == len(self.deferred):
            self._forgotten.add(key)  # its job was faster than the response of its request
        self.deferred[:] = kept
        if isinstance(entry, UsagePoint) and all(point.idempotency_key != key for point in self.points):
            self.points.append(entry)
        return True

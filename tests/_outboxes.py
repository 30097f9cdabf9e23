"""
Stores that hang or refuse when a test wants them to.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.points.point import UsagePoint

PATIENCE = 10  # seconds that a test waits for what must happen


def new_point(key: str = "0") -> UsagePoint:
    return UsagePoint(event="cloud-render", host="https://myapp.com", succeeded=True, idempotency_key=key)


class SlowOutbox(MemoryOutbox):
    """
    Stores points once its gate is open, and refuses them while `refuses` is set.

    Attributes:
        batches: How many points each transaction had, refused ones too.
        entered: Released when a transaction begins.
        stored: Released for each point of a transaction that has succeeded.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gate = threading.Event()
        self.gate.set()
        self.refuses = False
        self.batches: list[int] = []
        self.entered = threading.Semaphore(0)
        self.stored = threading.Semaphore(0)

    def open(self) -> None:
        if self.refuses:
            msg = "the disk is full"
            raise OutboxError(msg)

    def add(self, points: Sequence[UsagePoint]) -> None:
        self.entered.release()
        assert self.gate.wait(PATIENCE)
        self.batches.append(len(points))
        self.open()
        super().add(points)
        self.stored.release(len(points))

    def wait_entered(self, times: int = 1) -> None:
        """
        Wait until so many more transactions have begun.
        """
        assert all(self.entered.acquire(timeout=PATIENCE) for _ in range(times))

    def wait_stored(self, points: int = 1) -> None:
        """
        Wait until so many more points are stored.
        """
        assert all(self.stored.acquire(timeout=PATIENCE) for _ in range(points))

    @property
    def keys(self) -> list[str]:
        """
        The stored points' keys, in the order in which they came.
        """
        return [stored.point.idempotency_key for stored in reversed(self.list(limit=100_000))]

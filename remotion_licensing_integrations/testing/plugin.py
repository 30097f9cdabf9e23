"""
A pytest plugin: the fixture `remotion_usage` shows what an app would have registered, and nothing leaves the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..models import UsagePoint
    from ..recorder import UsageRecorder


class RecordedUsage:
    """
    The usage points recorded while a test runs.

    Attributes:
        points: Oldest first.
    """

    def __init__(self) -> None:
        self.points: list[UsagePoint] = []

    def record(self, point: UsagePoint) -> bool:
        """
        Keep *point* as an outbox would: one for each idempotency key.
        """
        if all(point.idempotency_key != known.idempotency_key for known in self.points):
            self.points.append(point)
        return True


@pytest.fixture
def remotion_usage(monkeypatch: pytest.MonkeyPatch) -> RecordedUsage:
    """
    Take the usage points of every recorder, with or without a licence key, instead of storing and delivering them.
    """
    from ..recorder import UsageRecorder  # noqa: PLC0415 - the plugin is loaded in test runs that never need it

    recorded = RecordedUsage()

    def record(_: UsageRecorder, point: UsagePoint) -> bool:
        return recorded.record(point)

    async def arecord(_: UsageRecorder, point: UsagePoint) -> bool:
        return recorded.record(point)

    def nothing(_: UsageRecorder, timeout: float | None = None) -> None:
        """
        Start or stop nothing.
        """

    def deliver(*_: object, **__: object) -> int:
        return 0

    monkeypatch.setattr(UsageRecorder, "record", record)
    monkeypatch.setattr(UsageRecorder, "arecord", arecord)
    monkeypatch.setattr(UsageRecorder, "deliver", deliver)
    monkeypatch.setattr(UsageRecorder, "start", nothing)
    monkeypatch.setattr(UsageRecorder, "stop", nothing)
    return recorded

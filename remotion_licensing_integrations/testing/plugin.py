"""
A pytest plugin: the fixture `remotion_usage` shows what an app would have registered, and nothing leaves the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..points import UsagePoint
    from ..recording import UsageRecorder


class RecordedUsage:
    """
    The usage points recorded while a test runs.

    Attributes:
        points: Those with an outcome, oldest first.
        deferred: Those whose outcome is still to come, oldest first.
    """

    def __init__(self) -> None:
        self.points: list[UsagePoint] = []
        self.deferred: list[UsagePoint] = []

    def record(self, point: UsagePoint) -> bool:
        """
        Keep *point* as an outbox would: one for each idempotency key, and an outcome in the place of a deferral.
        """
        known = {each.idempotency_key for each in self.points}
        if point.succeeded is not None:
            self.forget_deferred(point.idempotency_key)
        else:
            known |= {each.idempotency_key for each in self.deferred}
        if point.idempotency_key not in known:
            (self.deferred if point.succeeded is None else self.points).append(point)
        return True

    def forget_deferred(self, idempotency_key: str) -> bool:
        """
        Let a deferral go.
        """
        self.deferred[:] = [each for each in self.deferred if each.idempotency_key != idempotency_key]
        return True


@pytest.fixture
def remotion_usage(monkeypatch: pytest.MonkeyPatch) -> RecordedUsage:
    """
    Take the usage points of every recorder, with or without a licence key, instead of storing and delivering them.
    """
    from ..recording import UsageRecorder  # noqa: PLC0415 - the plugin is loaded in test runs that never need it

    recorded = RecordedUsage()

    def record(_: UsageRecorder, point: UsagePoint, *, wait: float | None = None) -> bool:  # noqa: ARG001 - as declared
        return recorded.record(point)

    async def arecord(_: UsageRecorder, point: UsagePoint, *, wait: float | None = None) -> bool:  # noqa: ARG001 - as declared
        return recorded.record(point)

    def forget_deferred(_: UsageRecorder, idempotency_key: str, *, wait: float | None = None) -> bool:  # noqa: ARG001 - as declared
        return recorded.forget_deferred(idempotency_key)

    async def aforget_deferred(_: UsageRecorder, idempotency_key: str, *, wait: float | None = None) -> bool:  # noqa: ARG001 - as declared
        return recorded.forget_deferred(idempotency_key)

    def nothing(_: UsageRecorder, timeout: float | None = None) -> None:
        """
        Start or stop nothing.
        """

    def deliver(*_: object, **__: object) -> int:
        return 0

    methods = {
        "record": record,
        "arecord": arecord,
        "forget_deferred": forget_deferred,
        "aforget_deferred": aforget_deferred,
        "deliver": deliver,
        "start": nothing,
        "stop": nothing,
    }
    # A Django project's recorder of a test run has methods of its own.
    for kind in (UsageRecorder, *UsageRecorder.__subclasses__()):
        for name, method in methods.items():
            monkeypatch.setattr(kind, name, method)
    return recorded

"""
Recorders over a store that hangs or refuses when a test wants it to.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from remotion_licensing_integrations.recording import recorder as recorder_module
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import Settings

from ._delivery import KEY
from ._outboxes import PATIENCE, SlowOutbox, new_point

Make = Callable[..., UsageRecorder]


@pytest.fixture
def slow_outbox() -> SlowOutbox:
    return SlowOutbox()


@pytest.fixture
def make_recorder(slow_outbox) -> Iterator[Make]:
    def make(*, store: Any = slow_outbox, transport: Any = None, **settings: Any) -> UsageRecorder:
        options = {"license_key": KEY, "base_url": "http://api.test", "delivery": "external", **settings}
        return UsageRecorder(Settings(**options), outbox=store, transport=transport)

    yield make
    slow_outbox.gate.set()
    slow_outbox.refuses = False


class NotingRecorder(UsageRecorder):
    """
    Notes when it starts and stops.
    """

    def __init__(self) -> None:
        super().__init__(Settings(license_key=KEY, outbox="memory://", delivery="off"))
        self.happened: list[str] = []

    def start(self) -> None:
        self.happened.append("recorder starts")

    def stop(self, timeout: float | None = None) -> None:
        self.happened.append("recorder stops")


@pytest.fixture
def patient(monkeypatch) -> None:
    monkeypatch.setattr(recorder_module, "COMMIT_WAIT", PATIENCE)


@pytest.fixture
def hasty(monkeypatch) -> None:
    monkeypatch.setattr(recorder_module, "COMMIT_WAIT", 0.01)


def threads() -> list[str]:
    """
    Name the threads that recorders have started.
    """
    started = {thread.name for thread in threading.enumerate()}
    return sorted(started & {"remotion-usage-writer", "remotion-usage-delivery", "remotion-usage-spill"})


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.action for record in caplog.records]


def record(recorder: UsageRecorder, how: str, key: str = "0") -> bool:
    if how == "record":
        return recorder.record(new_point(key))
    return asyncio.run(recorder.arecord(new_point(key)))


BOTH = pytest.mark.parametrize("how", ["record", "arecord"])

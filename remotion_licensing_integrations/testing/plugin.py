"""
A pytest plugin: the fixture `remotion_usage` shows what an app would have registered, and nothing leaves the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .recorded import RecordedUsage


@pytest.fixture
def remotion_usage(monkeypatch: pytest.MonkeyPatch) -> RecordedUsage:
    """
    Take the usage points of every recorder, with or without a licence key, instead of storing and delivering them.
    """
    from ..recording import UsageRecorder  # noqa: PLC0415 - the plugin is loaded in test runs that never need it
    from .recorded import RecordedUsage  # noqa: PLC0415 - the plugin is loaded in test runs that never need it

    recorded = RecordedUsage()
    monkeypatch.setattr(UsageRecorder, "keeper_of_all", recorded)
    return recorded

"""
Points and clocks for the tests of the outbox.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from remotion_licensing_integrations.models import UsagePoint

START = 1_700_000_000.0  # epoch seconds
DAY = 86_400.0  # seconds


class Clock:
    """
    A clock that stands still until it is turned.
    """

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def moment(seconds: float = 0.0) -> datetime:
    """
    Return the moment *seconds* after `START`.
    """
    return datetime.fromtimestamp(START, UTC) + timedelta(seconds=seconds)


def point(key: str = "key", **fields: Any) -> UsagePoint:
    """
    Return a usage point that occurred at `START` unless told otherwise.
    """
    defaults: dict[str, Any] = {"event": "cloud-render", "host": None, "succeeded": True, "occurred_at": moment()}
    return UsagePoint(**{**defaults, "idempotency_key": key, **fields})


def points(number: int, prefix: str = "key") -> list[UsagePoint]:
    """
    Return *number* points, their keys numbered from 0.
    """
    return [point(f"{prefix}-{index}") for index in range(number)]

"""
What a recorder tells an operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..outbox import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderCounts:
    """
    The figures of a recorder, for operators.

    Attributes:
        stored: Points in the outbox, of all processes that share it.
        spilled: Points of this machine that wait in the spill until the outbox accepts them.
        waiting: Points of this process that are not committed yet.
        late: Points whose request stopped waiting before the commit.
        logged: Points that only the log has, for `remotion-licensing import`.
        hosts: How this process chose the hosts of its points, by `origin.HostSource`.
        paused: Why this process pauses delivery, or `None`.
    """

    stored: Counts
    spilled: int
    waiting: int
    late: int
    logged: int
    hosts: Mapping[str, int]
    paused: str | None

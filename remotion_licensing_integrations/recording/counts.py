"""
What a recorder tells an operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..outbox import Counts

_By = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessCounts:
    """
    What one process has seen since its start, without a look at the outbox.

    Attributes:
        waiting: Points of this process that are not committed yet.
        late: Points whose request stopped waiting before the commit.
        logged: Points that only the log has, for `remotion-licensing import`.
        hosts: Points of this process by the source of their host: `configured`, `origin`, `referer`, `own`, `unknown`
            or `refused`.
        paused: Why this process pauses delivery, or `None`.
        refused: Whether neither the outbox nor the spill takes points, which are then in memory only.
        recorded: Points that were committed, by event and outcome: `succeeded`, `failed` or `deferred`.
        attempts: Points that were sent, by event and result: `registered`, `rejected`, `held` or `failed`.
        registered: Points that the API took, by event and classification.
    """

    waiting: int = 0
    late: int = 0
    logged: int = 0
    hosts: Mapping[str, int] = field(default_factory=dict[str, int])
    paused: str | None = None
    refused: bool = False
    recorded: _By = field(default_factory=dict[tuple[str, str], int])
    attempts: _By = field(default_factory=dict[tuple[str, str], int])
    registered: _By = field(default_factory=dict[tuple[str, str], int])


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderCounts(ProcessCounts):
    """
    The figures of a recorder, for operators.

    Attributes:
        stored: Points in the outbox, of all processes that share it.
        spilled: Points of this machine that wait in the spill until the outbox accepts them.
    """

    stored: Counts
    spilled: int

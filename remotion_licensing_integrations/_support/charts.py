"""
The chart of usage points by day: how high which part of which bar is. Pages draw it as SVG.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Final

#: The parts of a bar, from its bottom to its top; the last two are ours, not the licensing API's.
KINDS: Final = ("billable", "development", "failed", "other", "open")
OPEN: Final = "open"

_BAR: Final = 0.72  # of the width that a day has
_HEIGHT: Final = 100


def kind_of(state: str, classification: str | None) -> str:
    """
    Return which of `KINDS` a point is.
    """
    if state != "registered":
        return OPEN
    return classification if classification in KINDS[:3] else "other"


@dataclass(frozen=True, slots=True)
class Segment:
    """
    A part of a bar, in the chart's own units: days across, `Chart.height` from top to bottom.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Day:
    """
    A day of the chart with its points.
    """

    date: date
    counts: Counter[str]
    segments: Sequence[Segment]
    names: Mapping[str, Any]

    @property
    def total(self) -> int:
        """
        How many points the day has.
        """
        return self.counts.total()

    @property
    def cells(self) -> Sequence[int]:
        """
        How many points there are of each kind.
        """
        return [self.counts[kind] for kind in self.names]

    @property
    def parts(self) -> Sequence[tuple[int, Any]]:
        """
        The kinds that occur, with how often.
        """
        return [(self.counts[kind], name) for kind, name in self.names.items() if self.counts[kind]]


class Chart:
    """
    Bars for the days from *first* to *last*.

    Args:
        counts: How many points of which kind the days have; days may be missing.
        names: What each of `KINDS` is called on the page.
    """

    height: Final = _HEIGHT

    def __init__(self, first: date, last: date, counts: Mapping[date, Counter[str]], names: Mapping[str, Any]) -> None:
        self.first: date = first
        self.last: date = last
        self.names: Mapping[str, Any] = names
        self.width: int = (last - first).days + 1
        self._counts = [counts.get(first + timedelta(days=number), Counter[str]()) for number in range(self.width)]

    @cached_property
    def days(self) -> Sequence[Day]:
        """
        The days, the oldest first.
        """
        scale = _HEIGHT / self.top
        return [
            Day(self.first + timedelta(days=index), counts, _segments(index, counts, scale), self.names)
            for index, counts in enumerate(self._counts)
        ]

    @property
    def busy_days(self) -> Sequence[Day]:
        """
        The days that have points, the latest first.
        """
        return [day for day in reversed(self.days) if day.total]

    @property
    def totals(self) -> Day:
        """
        All days together.
        """
        return Day(self.last, sum(self._counts, Counter[str]()), (), self.names)

    @property
    def top(self) -> int:
        """
        The number at the upper edge.
        """
        return _round_up(max(counts.total() for counts in self._counts))


def _segments(index: int, counts: Counter[str], scale: float) -> Sequence[Segment]:
    x, y = index + (1 - _BAR) / 2, float(_HEIGHT)
    segments: list[Segment] = []
    for kind in KINDS:
        height = counts[kind] * scale
        if height:
            y -= height
            segments.append(Segment(kind, round(x, 3), round(y, 3), _BAR, round(height, 3)))
    return segments


def _round_up(number: int) -> int:
    # To a number that reads well on an axis: 1, 2 or 5, followed by zeros.
    step = 1
    while True:
        for factor in (1, 2, 5):
            if number <= factor * step:
                return factor * step
        step *= 10

"""
What the admin shows above its list: the number of points by state and classification, and a chart of the last days.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Case, Count, DateField, F, QuerySet, When
from django.db.models.functions import TruncDate
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from ..outbox import State
from .models import UsagePointRecord

DAYS: Final = 30

#: The parts of a bar, from its bottom to its top; the last two are ours, not the licensing API's.
KINDS: Final = {
    "billable": _("billable"),
    "development": _("development"),
    "failed": _("failed"),
    "other": _("other"),
    "open": _("not registered"),
}

_BAR: Final = 0.72  # of the width that a day has
_HEIGHT: Final = 100


@dataclass(frozen=True, slots=True)
class Segment:
    """
    A part of a bar, in the chart's own units: days across, `_HEIGHT` from top to bottom.
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
        return [self.counts[kind] for kind in KINDS]

    @property
    def parts(self) -> Sequence[tuple[int, Any]]:
        """
        The kinds that occur, with how often.
        """
        return [(self.counts[kind], name) for kind, name in KINDS.items() if self.counts[kind]]


class Summary:
    """
    Counts of *records* by state and kind, and by day for the last `DAYS` days; one query, when it is first needed.
    """

    def __init__(self, records: QuerySet[UsagePointRecord], today: date | None = None) -> None:
        self.last = today or _today()
        self.first = self.last - timedelta(days=DAYS - 1)
        self.kinds = KINDS
        self.height = _HEIGHT
        self.width = DAYS
        self._records = records

    @cached_property
    def _groups(self) -> Sequence[tuple[str, str | None, date | None, int]]:
        day = TruncDate("occurred_at")
        recent = Case(When(day__range=(self.first, self.last), then=F("day")), output_field=DateField())
        groups = self._records.order_by().annotate(day=day).annotate(recent=recent)
        return list(groups.values_list("state", "classification", "recent").annotate(Count("pk")))

    @property
    def states(self) -> Sequence[tuple[State, int]]:
        """
        Each state and how many points are in it.
        """
        return [(state, sum(number for name, _, _, number in self._groups if name == state)) for state in State]

    @property
    def classifications(self) -> Sequence[tuple[str, int]]:
        """
        Each classification that occurs, by the API's own name, and how many points have it.
        """
        counts: Counter[str] = Counter()
        for _state, name, _day, number in self._groups:
            if name:
                counts[name] += number
        order = [*KINDS, *sorted(counts)]
        return sorted(counts.items(), key=lambda item: order.index(item[0]))

    @cached_property
    def days(self) -> Sequence[Day]:
        """
        The days of the chart, the oldest first.
        """
        counts = {self.first + timedelta(days=number): Counter[str]() for number in range(DAYS)}
        for state, classification, day, number in self._groups:
            if day is not None:
                counts[day][_kind(state, classification)] += number
        scale = _HEIGHT / _round_up(max(kinds.total() for kinds in counts.values()))
        return [Day(day, kinds, _segments(index, kinds, scale)) for index, (day, kinds) in enumerate(counts.items())]

    @property
    def busy_days(self) -> Sequence[Day]:
        """
        The days that have points, the latest first.
        """
        return [day for day in reversed(self.days) if day.total]

    @property
    def totals(self) -> Day:
        """
        All days of the chart together.
        """
        return Day(self.last, sum((day.counts for day in self.days), Counter()), ())

    @property
    def top(self) -> int:
        """
        The number at the upper edge of the chart.
        """
        return _round_up(max(day.total for day in self.days))


def _kind(state: str, classification: str | None) -> str:
    if state != State.REGISTERED:
        return "open"
    return classification if classification in {"billable", "development", "failed"} else "other"


def _segments(index: int, counts: Counter[str], scale: float) -> Sequence[Segment]:
    x, y = index + (1 - _BAR) / 2, float(_HEIGHT)
    segments = []
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


def _today() -> date:
    # Without time zones the table has UTC.
    return timezone.localdate() if settings.USE_TZ else datetime.now(UTC).date()

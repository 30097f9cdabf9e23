"""
How many points each day has: those in the outbox, and those that were pruned, of which daily totals are kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal, get_args

from .values import State

Dimension = Literal["day", "event", "host", "label", "key_fingerprint", "state", "classification", "unanswered"]
#: The columns of a daily total.
TOTAL: Final = ("day", "registered_day", "event", "host", "label", "key_fingerprint", "classification", "number")
#: What points can be grouped by.
DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)

MAX_KEPT_CLASSIFICATION: Final = 100  # characters of a classification that a daily total keeps

_EPOCH: Final = date(1970, 1, 1)
_DAY: Final = 86_400.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """
    The number of points in one group.

    A field is `None` when the points were not grouped by it, or when they have no such value.

    Attributes:
        day: In UTC.
        state: A `State`, or what a row has instead of one. Pruned points are registered.
        unanswered: Whether a point was sent, or is being sent, without an answer; `False` for pruned points.
    """

    number: int
    day: date | None = None
    event: str | None = None
    host: str | None = None
    label: str | None = None
    key_fingerprint: str | None = None
    state: str | None = None
    classification: str | None = None
    unanswered: bool | None = None


def to_totals(by: Sequence[Dimension], rows: Iterable[Sequence[Any]]) -> Sequence[Total]:
    """
    Return the totals of *rows*: the values of *by* and a number each; rows of the same group are added up.
    """
    numbers: Counter[tuple[Any, ...]] = Counter()
    for *values, number in rows:
        group = tuple(_read(name, value) for name, value in zip(by, values, strict=True))
        numbers[group] += int(number or 0)
    return [Total(number=number, **dict(zip(by, values, strict=True))) for values, number in numbers.items() if number]


def _read(name: Dimension, value: Any) -> Any:
    match name:
        case "day":
            return to_day(value)
        case "unanswered":
            return bool(value)
        case _:
            return value or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """
    What can be asked about a point in memory; moments are epoch seconds.
    """

    occurred: float
    due: float
    event: str
    host: str | None
    label: str | None
    key_fingerprint: str | None
    state: str
    classification: str | None
    unanswered: bool

    def prune(self) -> Group:
        """
        Return what is kept of the point.
        """
        occurred, due = (moment // _DAY * _DAY for moment in (self.occurred, self.due))
        kept = self.classification and self.classification[:MAX_KEPT_CLASSIFICATION]
        return replace(self, occurred=occurred, due=due, classification=kept, unanswered=False)

    def values(self, by: Sequence[Dimension], moment: float) -> Sequence[Any]:
        """
        Return the values of *by*, with the day of *moment*.
        """
        return [moment // _DAY if name == "day" else getattr(self, name) for name in by]


def add_up(
    groups: Iterable[tuple[Group, int]],
    by: Sequence[Dimension],
    *,
    since: datetime | None,
    until: datetime | None,
    registered: bool,
    waiting: bool,
) -> Sequence[Total]:
    """
    Return the totals of *groups*, each with its number of points; see `Outbox.totals`.
    """
    first = -math.inf if since is None else since.timestamp()
    end = math.inf if until is None else until.timestamp()
    moments = ((group.due if registered else group.occurred, group, number) for group, number in groups)
    rows = [
        (*group.values(by, moment), number)
        for moment, group, number in moments
        if first <= moment < end and not (waiting if group.state == State.REGISTERED else registered)
    ]
    return to_totals(by, rows)


def to_day(number: int) -> date:
    """
    Return the day of a *number* counted from 1970 on.
    """
    return _EPOCH + timedelta(days=int(number))


def first_day(moment: datetime) -> int:
    """
    Return the number of the first day in UTC that does not begin before *moment*.
    """
    return math.ceil(moment.timestamp() / _DAY)


def beginning(day: date) -> datetime:
    """
    Return the moment at which *day* begins in UTC.
    """
    return datetime(day.year, day.month, day.day, tzinfo=UTC)

"""
How many points the outbox has of this month, of today and of each of the last days.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, NamedTuple

from .._support.charts import KINDS, OPEN, Chart, kind_of
from ..api import COUNTED_AS, Counted
from ..outbox import Dimension, State, Total, beginning
from ..points import utc_now
from ..recording import UsageRecorder

DAYS: Final = 30

#: What the parts of a bar and the columns of the tables are called.
NAMES: Final = {
    "billable": "billable",
    "development": "development",
    "failed": "failed",
    "other": "other",
    OPEN: "not registered",
}


class Cell(NamedTuple):
    """
    Our number beside the API's own, which may be unknown.
    """

    kind: str
    own: int
    counted: int | None


@dataclass(frozen=True, slots=True)
class Window:
    """
    The points since a moment, by event and kind, beside what the API has counted.

    Attributes:
        title: "This month" or "Today".
        since: The first day.
    """

    name: str
    title: str
    since: date
    counts: Mapping[tuple[str, str], int]
    api: Counted

    @property
    def kinds(self) -> Sequence[str]:
        """
        The columns; a classification that is not known has one only where it occurs.
        """
        has_other = any(number for (_, kind), number in self.counts.items() if kind == "other")
        return [kind for kind in KINDS if kind != "other" or has_other]

    @property
    def rows(self) -> Sequence[tuple[str, Sequence[Cell]]]:
        """
        Each event of the API with its cells, and all events together when there are several.
        """
        events = dict.fromkeys(COUNTED_AS.values())
        rows = [(event, [self._cell(event, kind) for kind in self.kinds]) for event in events]
        return [*rows, ("All events", [_sum(cells) for cells in zip(*(cells for _, cells in rows), strict=True)])]

    def _cell(self, event: str, kind: str) -> Cell:
        return Cell(kind, self.counts.get((event, kind), 0), self.api.count(event, kind))


def _sum(cells: Sequence[Cell]) -> Cell:
    counted = [cell.counted for cell in cells]
    return Cell(
        cells[0].kind,
        sum(cell.own for cell in cells),
        None if None in counted else sum(number for number in counted if number is not None),
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """
    The counts that a page needs, of one look at the outbox.
    """

    month: Counter[tuple[str, str]]
    today: Counter[tuple[str, str]]
    days: dict[date, Counter[str]]
    last: date

    def add(self, total: Total, kind: str, month: date) -> None:
        """
        Add *total* to the windows that it lies in.
        """
        event, day = total.event or "", total.day or self.last
        key = COUNTED_AS.get(event, event), kind
        self.month[key] += total.number if day >= month else 0
        self.today[key] += total.number if day >= self.last else 0

    def chart(self) -> Chart:
        """
        Return the chart of the last `DAYS` days.
        """
        return Chart(self.last - timedelta(days=DAYS - 1), self.last, self.days, NAMES)


def read_figures(recorder: UsageRecorder) -> Figures:
    """
    Count the points of the outbox; days and months are those of UTC, as the API's are.

    The chart has all points. The windows have those for the recorder's own keys, as the API has; there a registered
    point counts when it was registered, as for the API. Everywhere else the moment at which it occurred counts.
    """
    today = utc_now().date()
    month, first = today.replace(day=1), today - timedelta(days=DAYS - 1)
    figures, outbox = Figures(Counter(), Counter(), {}, today), recorder.outbox
    own = {None, *recorder.keys.fingerprints}
    groups: Sequence[Dimension] = ("day", "event", "classification", "key_fingerprint")
    registered = outbox.totals(*groups, since=beginning(month), registered=True)
    for total in (total for total in registered if total.key_fingerprint in own):
        figures.add(total, kind_of(State.REGISTERED, total.classification), month)
    for total in outbox.totals(*groups, "state", since=beginning(min(month, first))):
        kind = kind_of(total.state or "", total.classification)
        figures.days.setdefault(total.day or today, Counter())[kind] += total.number
        if kind == OPEN and total.key_fingerprint in own:
            figures.add(total, kind, month)
    return figures

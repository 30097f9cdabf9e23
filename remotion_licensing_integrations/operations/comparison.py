"""
Both sides of a comparison, the outbox's and the licensing API's, in one window of time.

Days are in UTC, as the API's months are. The API counts a point when it registers it, so the outbox's registered points
are counted by that moment, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ..api import CLASSIFICATIONS, COUNTED_AS, by_event
from ..outbox import Dimension, State, StoredPoint, Total, beginning
from ..points import Usage, utc_now
from ..recording import UsageRecorder
from ..settings import LicenseKeys, Settings
from .account import fetch_usage
from .differences import CELLS, TEXTS, Cell, Differences, Facts, explain
from .output import at

_MAX_HELD: Final = 1_000  # points
_MAX_CALLS: Final = 40  # of the API, to find the days on which an unexplained difference arose
#: How far the moments of the API and of the outbox may lie apart at the beginning of the window.
_MARGIN: Final = timedelta(minutes=1)
#: A point is sent again for a day before it is held, and the API counts it when it came first.
_RESENT_FOR: Final = timedelta(days=1)
_INSTANT: Final = timedelta(microseconds=1)


class _API:
    """
    What the licensing API has counted since moments; each is asked for once.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._answers: dict[datetime, Counter[Cell]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def count(self, since: datetime) -> Counter[Cell]:
        """
        Return the numbers since *since*.
        """
        if since not in self._answers:
            self._answers[since] = _cells(fetch_usage(self._settings, since))
        return self._answers[since]


def _cells(usage: Usage) -> Counter[Cell]:
    counts = by_event(usage)
    return Counter({(event, word): int(getattr(counts[event], word)) for event, word in CELLS})


class Comparison:
    """
    Both sides since *since*, the beginning of a day in UTC.
    """

    def __init__(self, recorder: UsageRecorder, since: datetime) -> None:
        self.since: datetime = since
        self._outbox = recorder.outbox
        self._api = _API(recorder.settings)
        self._keys = {None, *LicenseKeys(recorder.settings).fingerprints}
        self.held: Sequence[StoredPoint] = self._outbox.list(State.HELD, limit=_MAX_HELD)
        began = utc_now()
        self.first: datetime | None = self._outbox.oldest()
        self.api: Counter[Cell] = self._api.count(since)
        earlier = self._counted_before()
        # In this order, and with what is registered meanwhile: deliverers go on.
        waiting = self._own(self._outbox.totals("event", "state", "unanswered", "key_fingerprint", waiting=True))
        all_keys = self._totals(since=since)
        self.here: Counter[Cell] = _count_cells(self._own(all_keys))
        during = self._count(since=began)
        self.waiting: dict[str, int] = {
            **{state.value: _number(waiting, state=state) for state in State if state is not State.REGISTERED},
            "spilled": recorder.count_spilled(),
        }
        self.of_other_keys: int = _sum(all_keys) - self.here.total()
        self.older: int = self._count_older()
        resent = self._count(since=since, until=since + _RESENT_FOR, unanswered=True)
        facts = Facts(
            here=self.here,
            api=self.api,
            exact={"before": earlier},
            more={
                "held": _by_event(waiting, state=State.HELD),
                "unanswered": _by_event(waiting, state=State.PENDING, unanswered=True),
                "unclassified": _unclassified(self.here),
                "sent_again": self._sent_again(recorder.settings),
                "skew": _sum_events(self._count(since=since - _MARGIN, until=since)),
                "during": _sum_events(during),
            },
            # A moment later, because all pruned points of a day count at its beginning.
            fewer={
                "edge": self._count(since=since + _INSTANT, until=since + _MARGIN) + resent,
                "during": during,
            },
        )
        self.differences: Differences = explain(facts)
        self.days: Sequence[tuple[datetime, datetime, Mapping[Cell, int]]] = self._locate(
            [*self.differences.unexplained]
        )

    def _totals(self, since: datetime, until: datetime | None = None) -> Sequence[Total]:
        by: tuple[Dimension, ...] = ("event", "classification", "unanswered", "key_fingerprint")
        return self._outbox.totals(*by, registered=True, since=since, until=until)

    def _count(self, since: datetime, until: datetime | None = None, *, unanswered: bool = False) -> Counter[Cell]:
        totals = self._own(self._totals(since, until))
        return _count_cells(total for total in totals if total.unanswered or not unanswered)

    def _own(self, totals: Sequence[Total]) -> Sequence[Total]:
        return [total for total in totals if total.key_fingerprint in self._keys]

    def _count_older(self) -> int:
        # Of the points that occurred before the window, those that were not registered before it.
        occurred = self._own(self._outbox.totals("state", "key_fingerprint", until=self.since))
        registered = self._own(self._outbox.totals("key_fingerprint", registered=True, until=self.since))
        return _number(occurred, state=State.REGISTERED) - _sum(registered)

    def _counted_before(self) -> Mapping[Cell, int]:
        if self.first is None or self.first <= self.since:
            return {}
        return self.api - self._api.count(self.first)

    def _sent_again(self, settings: Settings) -> Counter[str]:
        if settings.idempotency != "off":
            return Counter()
        return _sum_events(self._count(since=self.since, unanswered=True))

    def _locate(self, cells: Sequence[Cell]) -> Sequence[tuple[datetime, datetime, Mapping[Cell, int]]]:
        """
        Return the days, or ranges of days, on which the numbers of *cells* differ, each with the differences.
        """
        if not cells:
            return []
        start = self.since if self.first is None else max(self.since, self.first)
        tomorrow = beginning(utc_now().date()) + timedelta(days=1)
        marks = [start, *(self.since + timedelta(days=day) for day in range(1, (tomorrow - self.since).days))]
        marks = [mark for mark in marks if mark >= start]
        totals = self._own(
            self._outbox.totals("day", "event", "classification", "key_fingerprint", registered=True, since=self.since)
        )

        def differences(index: int) -> Counter[Cell]:
            here = _count_cells(total for total in totals if total.day and total.day >= marks[index].date())
            api = self._api.count(marks[index])
            return Counter({cell: api[cell] - here[cell] for cell in cells})

        found: list[tuple[datetime, datetime, Mapping[Cell, int]]] = []

        def search(low: int, high: int, at_low: Counter[Cell], at_high: Counter[Cell]) -> None:
            within = {cell: number for cell in cells if (number := at_low[cell] - at_high[cell])}
            if not within:
                return
            if high - low == 1 or len(self._api) >= _MAX_CALLS:
                found.append((marks[low], marks[high] if high < len(marks) else tomorrow, within))
                return
            middle = (low + high) // 2
            at_middle = differences(middle)
            search(low, middle, at_low, at_middle)
            search(middle, high, at_middle, at_high)

        search(0, len(marks), differences(0), Counter())
        return found

    def to_json(self) -> dict[str, Any]:
        """
        Return everything as JSON values.
        """
        found = self.differences
        return {
            "since": self.since,
            "counts": [
                {
                    "event": event,
                    "classification": word,
                    "here": self.here[event, word],
                    "api": self.api[event, word],
                    "difference": found.total[event, word],
                    "unexplained": found.unexplained.get((event, word), 0),
                }
                for event, word in CELLS
            ],
            "reasons": [
                {
                    "reason": reason.name,
                    "event": reason.event,
                    "classification": reason.classification,
                    "number": reason.number,
                    "text": self.text(reason.name),
                }
                for reason in found.reasons
            ],
            "unexplained_days": [
                {
                    "since": first,
                    "until": end,
                    "event": event,
                    "classification": word,
                    "difference": number,
                }
                for first, end, numbers in self.days
                for (event, word), number in numbers.items()
            ],
            "waiting": self.waiting,
            "held": [stored.to_json() for stored in self.held],
            "occurred_before": self.older,
            "of_other_keys": self.of_other_keys,
            "first_point": self.first,
        }

    def text(self, name: str) -> str:
        """
        Return the reason *name* in words.
        """
        return TEXTS[name].format(first=at(self.first) if self.first else "")


def _count_cells(totals: Iterable[Total]) -> Counter[Cell]:
    counts: Counter[Cell] = Counter()
    for total in totals:
        word = total.classification if total.classification in CLASSIFICATIONS else None
        counts[COUNTED_AS.get(total.event or "", ""), word or ""] += total.number
    return counts


def _number(totals: Sequence[Total], **values: object) -> int:
    return sum(_by_event(totals, **values).values())


def _sum(totals: Iterable[Total]) -> int:
    return sum(total.number for total in totals)


def _by_event(totals: Sequence[Total], **values: object) -> Counter[str]:
    counts: Counter[str] = Counter()
    for total in totals:
        if all(getattr(total, name) == value for name, value in values.items()):
            counts[COUNTED_AS.get(total.event or "", "")] += total.number
    return counts


def _sum_events(cells: Mapping[Cell, int]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (event, _), number in cells.items():
        counts[event] += number
    return counts


def _unclassified(cells: Mapping[Cell, int]) -> Counter[str]:
    return _sum_events({cell: number for cell, number in cells.items() if not cell[1]})

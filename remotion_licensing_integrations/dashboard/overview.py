"""
What the dashboard shows above its list, from one look at the outbox and one at the API's counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .._support.lookups import Lookup
from ..api import usage_reader
from ..outbox import EXPECTED_FOR, Counts, Outbox, Pause, State, beginning
from ..points import utc_now
from ..recording import UsageRecorder
from .figures import Figures, Window, read_figures

_FRESH: Final = 2.0  # seconds for which several viewers share one look at the outbox
_KEPT: Final = 300.0  # seconds for which old figures are better than none
PATIENCE: Final = 0.25  # seconds that a page waits for the figures of a large outbox, and then for the API
_REASONS: Final = 3  # reasons shown for each state
_EXPLAINED: Final = 200  # latest points of a state whose reasons are counted


@dataclass(frozen=True, slots=True)
class Look:
    """
    What the outbox says at one moment.

    Attributes:
        reasons: For a state, why its latest points are in it, with how many of them.
        spilled: Points of this machine that wait until the outbox accepts them.
    """

    at: datetime
    counts: Counts
    pauses: Sequence[Pause]
    reasons: dict[State, Sequence[tuple[str, int]]]
    spilled: int


@dataclass(frozen=True, slots=True)
class Limit:
    """
    How much of the month's limit is used.

    Attributes:
        waiting: Points that are not registered yet; at most so many become billable.
        is_counted: Whether `billable` is the API's own number.
    """

    most: int
    billable: int
    waiting: int
    is_counted: bool

    @property
    def share(self) -> float:
        """
        The used part in percent, at most 100.
        """
        return min(100.0, 100 * (self.billable + self.waiting) / self.most)


@dataclass(frozen=True, slots=True)
class Overview:
    """
    What the page shows above its list.

    Attributes:
        figures: `None` while the points of a large outbox are being counted for the first time.
        overdue: Whether some deferred work should have ended long ago.
    """

    look: Look
    figures: Figures | None
    windows: Sequence[Window]
    limit: Limit | None
    overdue: bool
    delivery: str

    @property
    def state(self) -> tuple[str, str]:
        """
        How things are, as a word for the style and a sentence.
        """
        look = self.look
        if look.pauses:
            return "failing", "Delivery is paused"
        if look.counts.rejected or look.counts.held or look.spilled or self.overdue:
            return "slow", "Some usage points need a person"
        if self.delivery == "off":
            return "slow", "Delivery is off"
        return "normal", "Every usage point is on its way"


class Observer:
    """
    Looks at the outbox when a page is asked for, and not otherwise; safe to use from any thread.
    """

    def __init__(self, recorder: UsageRecorder, max_billable: int | None) -> None:
        self._recorder = recorder
        self._max_billable = max_billable
        self._looks = Lookup(lambda: _look(recorder), fresh_for=_FRESH, kept_for=0)
        self._figures = Lookup(lambda: read_figures(recorder), fresh_for=_FRESH, kept_for=_KEPT)

    def observe(self, *, again: bool = False) -> Overview:
        """
        Return what the page shows, looking *again* after a change, which its reader must see.

        Raises:
            OutboxError: The store refuses.
        """
        settings, now = self._recorder.settings, utc_now()
        midnight, reader = beginning(now.date()), usage_reader(settings)
        # Asked before the outbox is, which takes its time, too.
        reader.read(None, midnight, patience=0)
        look = self._looks.ask(again=again).result()
        figures = self._figures.get(PATIENCE, again=again)
        of_month, of_today = reader.read(None, midnight, patience=PATIENCE)
        windows = (
            []
            if figures is None
            else [
                Window("month", f"{figures.last:%B %Y}", figures.last.replace(day=1), figures.month, of_month),
                Window("today", "Today", figures.last, figures.today, of_today),
            ]
        )
        deferred = look.counts.oldest_deferred
        return Overview(
            look=look,
            figures=figures,
            windows=windows,
            limit=self._limit(look, windows),
            overdue=deferred is not None and deferred < now - EXPECTED_FOR,
            delivery=settings.delivery,
        )

    def _limit(self, look: Look, windows: Sequence[Window]) -> Limit | None:
        if self._max_billable is None or not windows:
            return None
        counted = windows[0].api.billable()
        own = sum(number for (_, kind), number in windows[0].counts.items() if kind == "billable")
        waiting = look.counts.pending + look.spilled
        return Limit(self._max_billable, own if counted is None else counted, waiting, counted is not None)


def _look(recorder: UsageRecorder) -> Look:
    outbox = recorder.outbox
    counts = outbox.counts()
    return Look(
        at=utc_now(),
        counts=counts,
        pauses=outbox.pauses(),
        reasons={
            state: _reasons(outbox, state)
            for state in (State.PENDING, State.REJECTED, State.HELD)
            if getattr(counts, state.value)
        },
        spilled=recorder.count_spilled(),
    )


def _reasons(outbox: Outbox, state: State) -> Sequence[tuple[str, int]]:
    reasons = Counter(stored.last_error for stored in outbox.list(state, limit=_EXPLAINED) if stored.last_error)
    return [(reason, number) for reason, number in reasons.most_common(_REASONS) if reason]

"""
What the admin shows above its list: points by state and classification, a chart, and this month beside the API.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Case, CharField, Count, DateField, F, QuerySet, Value, When
from django.db.models.functions import TruncDate
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from .._support.charts import Chart, kind_of
from ..api import CLASSIFICATIONS, COUNTED_AS, Counted, usage_reader
from ..errors import ConfigurationError
from ..outbox import State, beginning
from ..points import utc_now
from .conf import read_settings
from .models import UsagePointRecord

DAYS: Final = 30

#: What the parts of a bar are called.
KINDS: Final = {
    "billable": _("billable"),
    "development": _("development"),
    "failed": _("failed"),
    "other": _("other"),
    "open": _("not registered"),
}


class Summary:
    """
    Counts of *records* by state and kind, and by day for the last `DAYS` days; one query, when it is first needed.
    """

    def __init__(self, records: QuerySet[UsagePointRecord], today: date | None = None) -> None:
        self.last: date = today or _today()
        self.first: date = self.last - timedelta(days=DAYS - 1)
        self.kinds = KINDS
        self._records = records

    @cached_property
    def _groups(self) -> Sequence[tuple[str, str | None, date | None, str | None, int]]:
        day = TruncDate("occurred_at")
        recent = Case(When(day__range=(self.first, self.last), then=F("day")), output_field=DateField())
        # The API's month begins at midnight in UTC, whatever the project's time zone is.
        month = Case(When(occurred_at__gte=_month(), then=F("event")), default=Value(None), output_field=CharField())
        groups = self._records.order_by().annotate(day=day).annotate(recent=recent, of_month=month)
        return list(groups.values_list("state", "classification", "recent", "of_month").annotate(Count("pk")))

    @property
    def states(self) -> Sequence[tuple[State, int]]:
        """
        Each state and how many points are in it.
        """
        return [(state, sum(number for name, *_, number in self._groups if name == state)) for state in State]

    @property
    def classifications(self) -> Sequence[tuple[str, int]]:
        """
        Each classification that occurs, by the API's own name, and how many points have it.
        """
        counts: Counter[str] = Counter()
        for _state, name, _day, _event, number in self._groups:
            if name:
                counts[name] += number
        order = [*KINDS, *sorted(counts)]
        return sorted(counts.items(), key=lambda item: order.index(item[0]))

    @cached_property
    def chart(self) -> Chart:
        """
        The last `DAYS` days.
        """
        counts: dict[date, Counter[str]] = {}
        for state, classification, day, _event, number in self._groups:
            if day is not None:
                counts.setdefault(day, Counter())[kind_of(state, classification)] += number
        return Chart(self.first, self.last, counts, KINDS)

    @cached_property
    def counted(self) -> Counted:
        """
        What the licensing API has counted this month.
        """
        try:
            return usage_reader(read_settings()).read(None)[0]
        except ConfigurationError as error:
            return Counted(None, str(error))

    @property
    def month(self) -> Sequence[tuple[str, Sequence[tuple[int, int | None]]]]:
        """
        For each event the registered points of this month in UTC by classification, each beside the API's own number.
        """
        own: Counter[tuple[str, str]] = Counter()
        for state, classification, _day, event, number in self._groups:
            if event is not None and state == State.REGISTERED:
                own[COUNTED_AS.get(event, event), classification or ""] += number
        return [
            (event, [(own[event, name], self.counted.count(event, name)) for name in CLASSIFICATIONS])
            for event in dict.fromkeys(COUNTED_AS.values())
        ]


def _month() -> datetime:
    month = beginning(utc_now().date().replace(day=1))
    return month if settings.USE_TZ else month.replace(tzinfo=None)


def _today() -> date:
    # Without time zones the table has UTC.
    return timezone.localdate() if settings.USE_TZ else utc_now().date()

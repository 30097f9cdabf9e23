"""
What the licensing API has counted, for pages: asked at most once a minute, from a thread, waited for briefly.

The fault: an API that is slow or away must not keep a page from its reader (`tests/api/test_counted.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Final

from .._support.lookups import Lookup
from ..errors import LicensingError
from ..points import EventCount, Usage
from ..settings import LicenseKeys, Settings
from .client import get_usage

MAX_AGE: Final = 60.0  # seconds for which an answer, or its failure, stands
PATIENCE: Final = 0.4  # seconds that a page waits for an answer
_KEPT: Final = 4  # moments whose answers are kept beside those that are asked for

#: The events that the API tells apart, and those that it counts as one of them.
COUNTED_AS: Final = {
    "cloud-render": "cloud-render",
    "web-render": "web-render",
    "webcodec-conversion": "web-render",
}
#: How the API classifies points, in the order in which they are shown.
CLASSIFICATIONS: Final = ("billable", "development", "failed")


@dataclass(frozen=True, slots=True)
class Counted:
    """
    What the API has counted since a moment, or why that is not known.

    Attributes:
        reason: Why `usage` is `None`.
    """

    usage: Usage | None
    reason: str | None = None

    def count(self, event: str, classification: str) -> int | None:
        """
        Return the API's number; `None` when it is not known.
        """
        if self.usage is None or classification not in CLASSIFICATIONS:
            return None
        return int(getattr(by_event(self.usage)[event], classification))

    def billable(self) -> int | None:
        """
        Return the API's number of billable points; `None` when it is not known.
        """
        return None if self.usage is None else sum(count.billable for count in by_event(self.usage).values())


def by_event(usage: Usage) -> Mapping[str, EventCount]:
    """
    Return the counts of *usage* by the events that the API tells apart.
    """
    return {"cloud-render": usage.cloud_renders, "web-render": usage.web_renders}


LATE: Final = Counted(None, "The licensing API has not answered yet; reload the page in a moment.")


class UsageReader:
    """
    Asks the API what it has counted; safe to use from any thread.

    Args:
        settings: The private key in them is used, or else the public one.
        clock: Seconds that only go forward.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lookups: dict[datetime | None, Lookup[Counted]] = {}

    def read(self, *moments: datetime | None, patience: float = PATIENCE) -> Sequence[Counted]:
        """
        Return what was counted since each of *moments*; `None` is the start of the month in UTC.

        Waits at most *patience* seconds; a later call has the answer that did not arrive in time. Never raises.
        """
        lookups = {moment: self._lookups.get(moment) or self._lookup(moment) for moment in moments}
        # The last ones stay, because several pages ask, each for its own moments; those of former days go.
        others = [each for each in self._lookups.items() if each[0] not in lookups]
        self._lookups = dict([*others[-_KEPT:], *lookups.items()])
        wait([lookup.ask() for lookup in lookups.values()], patience)
        return [lookup.get(0) or LATE for lookup in lookups.values()]

    def _lookup(self, moment: datetime | None) -> Lookup[Counted]:
        ask = partial(self._fetch, moment)
        return Lookup(ask, fresh_for=MAX_AGE, kept_for=2 * MAX_AGE, clock=self._clock)

    def _fetch(self, moment: datetime | None) -> Counted:
        settings = self._settings
        try:
            keys = LicenseKeys(settings)
            key = keys.private or keys.wire_key
            if key is None:
                return Counted(None, "No licence key is set that could read usage (REMOTION_PRIVATE_LICENSE_KEY).")
            usage = get_usage(license_key=key, since=moment, base_url=settings.base_url, timeout=settings.timeout)
        except LicensingError as error:
            return Counted(None, str(error))
        except Exception as error:  # noqa: BLE001 - a page without these figures is better than none
            return Counted(None, f"{type(error).__name__}: the licensing API could not be asked.")
        return Counted(usage)


@lru_cache(maxsize=8)
def usage_reader(settings: Settings) -> UsageReader:
    """
    Return the reader for *settings* that all of this process share.
    """
    return UsageReader(settings)

"""
What the licensing API has counted in a period, at most a minute old, and what has been added to the outbox since.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from weakref import WeakKeyDictionary

from .._support.lookups import Lookup
from ..api import COUNTED_AS, by_event, get_usage
from ..errors import ConfigurationError, NoAnswerError, OutboxError
from ..outbox import Expected
from ..points import EVENTS, Usage
from ..recording import UsageRecorder
from ..settings import Settings

MAX_AGE: Final = timedelta(seconds=60)  # of the API's figure
REFRESH_AFTER: Final = timedelta(seconds=30)  # so that no request of a busy app waits for the API
RETRY_AFTER: Final = timedelta(seconds=10)  # after a failure, so that not each request waits for an API that is away
TIMEOUT: Final = 2.0  # seconds that requests wait for the API when there is no figure
COUNT_AFTER: Final = timedelta(seconds=1)  # while far from the limit
#: So many processes may let requests pass by a count that is a second old, and do not pass the limit together.
PROCESSES: Final = 16


@dataclass(slots=True)
class Figure:
    """
    What the API had counted since the start of a period, and how many points have come since then.
    """

    usage: Usage
    expected: Expected
    #: Points that came while the API was asked, which may have counted them.
    meanwhile: Mapping[str, int]
    fetched_at: datetime
    #: How often the API had been asked, this time included.
    number: int
    #: Whether nothing more can be found out about its doubtful points.
    is_settled: bool = False
    _added: Mapping[str, int] = field(default_factory=dict[str, int])
    _counted_at: datetime | None = None
    _let_in: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def known(self, event: str | None, now: datetime) -> int | None:
        """
        Return the latest count of *event*; `None` when it is too old.
        """
        with self._lock:
            is_fresh = self._counted_at is not None and timedelta() <= now - self._counted_at < COUNT_AFTER
            return self._total(event) if is_fresh else None

    def take_share(self, left: int) -> bool:
        """
        Return whether one more may pass uncounted, when so many were *left* at the latest count.
        """
        with self._lock:
            self._let_in += 1
            return self._let_in * PROCESSES <= left

    def note(self, added: Mapping[str, int], event: str | None, now: datetime) -> int:
        """
        Note how many points were added, and return the count of *event*.
        """
        with self._lock:
            self._added, self._counted_at, self._let_in = added, now, 0
            return self._total(event)

    def registered(self, event: str | None) -> int:
        """
        Return how many points of *event* the API had counted.
        """
        return sum(count.billable for name, count in by_event(self.usage).items() if name in _events(event))

    def doubtful(self, event: str | None) -> int:
        """
        Return how many points of *event* may count twice: they may have been registered while the API was asked.
        """
        if self.is_settled:
            return 0
        return count_events(self.expected.pending, event) + count_events(self.meanwhile, event)

    def _total(self, event: str | None) -> int:
        waiting = (count_events(counts, event) for counts in (self.expected.by_event, self._added))
        return self.registered(event) + sum(waiting)


def count_events(counts: Mapping[str, int], event: str | None) -> int:
    """
    Return how many points of *event*, or of all, there are in *counts*.
    """
    return sum(counts.get(name, 0) for name in _events(event))


def _events(event: str | None) -> Collection[str]:
    return EVENTS if event is None else [name for name in EVENTS if COUNTED_AS[name] == COUNTED_AS[event]]


class Meter:
    """
    The figures of one recorder in this process, by the start of their period.
    """

    def __init__(self) -> None:
        self.pid: int = os.getpid()
        #: How often the API was asked.
        self.asked: int = 0
        self._figures: dict[datetime, Figure] = {}
        self._trouble: tuple[datetime, Exception] | None = None
        self._refusal: tuple[datetime, datetime, OutboxError] | None = None
        self._fetching = threading.Lock()

    def figure(self, recorder: UsageRecorder, start: datetime, now: datetime) -> Figure:
        """
        Return the figure of the period that began at *start*, at most `MAX_AGE` old.

        Raises:
            Exception: It is unknown, or the outbox has refused lately.
        """
        if self._refusal is not None and self._refusal[0] < now < self._refusal[1]:
            raise self._refusal[2]
        figure = self._current(start, now)
        if figure is None:
            with self._fetching:
                return self._current(start, now) or self._fetch(recorder, start, now)
        if now - figure.fetched_at > REFRESH_AFTER and self._fetching.acquire(blocking=False):
            refresh = threading.Thread(
                target=self._refresh, args=(recorder, start, now), name="remotion-usage-limit", daemon=True
            )
            try:
                refresh.start()
            except RuntimeError:  # the system allows no more threads
                self._fetching.release()
        return figure

    def renew(self, recorder: UsageRecorder, start: datetime, now: datetime, *, after: int) -> Figure:
        """
        Return a figure of the period for which the API was asked later than its *after*-th time, or ask it now.

        Raises:
            Exception: It is unknown.
        """
        with self._fetching:
            figure = self._figures.get(start)
            return figure if figure and figure.number > after else self._fetch(recorder, start, now)

    def note_refusal(self, error: OutboxError, asked_at: datetime, now: datetime) -> None:
        """
        Note that the outbox, asked at *asked_at*, has refused by *now*: requests leave it alone for `RETRY_AFTER`.

        Fault: a database server is frozen, and each request would wait for it
        (tests/test_usage_limits.py::test_requests_do_not_wait_for_an_outbox_that_has_refused).
        """
        # Requests that are told of it meanwhile do not prolong it (…::test_requests_do_not_prolong_a_refusal).
        if self._refusal is None or self._refusal[2] is not error:
            self._refusal = asked_at - RETRY_AFTER, now + RETRY_AFTER, error

    def _current(self, start: datetime, now: datetime) -> Figure | None:
        figure = self._figures.get(start)
        # Of requests that wait together, the first to ask may have come last.
        return figure if figure is not None and abs(now - figure.fetched_at) <= MAX_AGE else None

    def _refresh(self, recorder: UsageRecorder, start: datetime, now: datetime) -> None:
        try:
            with suppress(Exception):  # a request that has no figure says so
                self._fetch(recorder, start, now)
        finally:
            self._fetching.release()

    def _fetch(self, recorder: UsageRecorder, start: datetime, now: datetime) -> Figure:
        if self._trouble is not None and abs(now - self._trouble[0]) < RETRY_AFTER:
            raise self._trouble[1]
        settings, key = recorder.settings, recorder.keys.private
        if key is None:
            msg = "private_license_key: set REMOTION_PRIVATE_LICENSE_KEY to read usage"
            raise ConfigurationError(msg)
        self.asked += 1
        try:
            # Before the API's answer: a point that is registered in between counts twice, but is not lost.
            expected = recorder.outbox.expected(recorder.keys.fingerprints)
            usage = _ask_api(key, start, settings)
            meanwhile = recorder.outbox.added_after(expected.last_row, recorder.keys.fingerprints)
        except Exception as error:
            self._trouble = now, error
            raise
        self._trouble = None
        current = {begin: figure for begin, figure in self._figures.items() if now - figure.fetched_at <= MAX_AGE}
        self._figures = {**current, start: (figure := Figure(usage, expected, meanwhile, now, self.asked))}
        return figure


def _ask_api(key: str, start: datetime, settings: Settings) -> Usage:
    # In a thread, because nothing ends the look-up of a name, which takes many seconds when name servers are away
    # (tests/test_usage_limits.py::test_a_request_does_not_wait_for_a_name_server).
    timeout = min(TIMEOUT, settings.timeout)
    ask = partial(get_usage, license_key=key, since=start, base_url=settings.base_url, timeout=timeout)
    try:
        return Lookup(ask, fresh_for=0, kept_for=0).ask().result(timeout)
    except TimeoutError:
        msg = f"{settings.base_url}: no answer within {timeout:g} s"
        raise NoAnswerError(msg) from None


_meters: Final[WeakKeyDictionary[UsageRecorder, Meter]] = WeakKeyDictionary()


def find_meter(recorder: UsageRecorder) -> Meter:
    """
    Return the figures of *recorder* in this process.
    """
    meter = _meters.get(recorder)
    # A fork may have left the child with a lock that nothing releases.
    if meter is None or meter.pid != os.getpid():
        meter = _meters[recorder] = Meter()
    return meter

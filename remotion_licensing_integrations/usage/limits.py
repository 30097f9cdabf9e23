"""
Usage limits: refuses work before it begins, by what the licensing API has counted and what it has not taken yet.

The API's figure is at most a minute old. Everything later is counted in the outbox, which all processes share. A
request's point is stored as deferred before its work begins, so that the other processes count it. The request passes
by the number of points up to its own: of many at the same time, as many pass as may (tests/processes/test_limits.py).
A point that is registered while the API is asked is in both numbers; where that decides, it is counted again.

Faults: the API is away, the private key is missing, or the outbox refuses. Then every request passes, and the log says
so once (tests/test_usage_limits.py): a licensing problem must not stop the app.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, ParamSpec, TypedDict, TypeVar, Unpack, cast

from .._support.log import logger
from ..errors import ConfigurationError, OutboxError
from ..points import Event, check_count, check_event, utc_now
from ..recording import Forget, UsageRecorder
from .meter import count_events, find_meter
from .mistakes import report_missing_middleware
from .settlement import Settlement, find_settlement

NEAR: Final = 0.8  # of the limit
PAUSES: Final = (0.05, 0.1, 0.2, 0.4)  # seconds between two counts of the same point

P = ParamSpec("P")
R = TypeVar("R")

Period = Literal["day", "month"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached:
    """
    Why a request is refused.

    Attributes:
        max_billable: The limit.
        per: The period, in UTC, as the licensing API counts.
        event: The event that is limited; `None` for all.
        resets_at: When the period ends.
        retry_after: Whole seconds until then.
    """

    max_billable: int
    per: Period
    event: Event | None
    resets_at: datetime
    retry_after: int

    @property
    def detail(self) -> str:
        """
        One sentence for the client.
        """
        return (
            f"The limit of {self.max_billable} conversions per {self.per} is reached; "
            f"it ends at {self.resets_at:%Y-%m-%d %H:%M} UTC."
        )

    @property
    def headers(self) -> dict[str, str]:
        """
        The headers of the response.
        """
        return {"Retry-After": str(self.retry_after), "Content-Type": "application/problem+json"}

    @property
    def problem(self) -> dict[str, Any]:
        """
        The body of the response (RFC 9457).
        """
        return {"type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": self.detail}


class LimitOptions(TypedDict, total=False):
    """
    The keywords of `usage_limit` that may be left out.

    Attributes:
        per: `"day"` or `"month"`, in UTC as the licensing API counts; defaults to `"month"`.
        event: Counts one event only; defaults to all.
        on_limit: Called when the limit is reached. When it returns true, the request passes; what it raises is the
            answer. It runs in a thread and may wait.
        clock: The current time, for tests.
    """

    per: Period
    event: Event | None
    on_limit: Callable[[LimitReached], bool] | None
    clock: Callable[[], datetime]


class UsageLimit:
    """
    Lets requests pass until *max_billable* points of a period are billable; safe to use from any thread.

    Raises:
        ConfigurationError: An argument is unusable.
    """

    def __init__(self, max_billable: int, **options: Unpack[LimitOptions]) -> None:
        self._max_billable = check_count("max_billable", max_billable, least=0)
        self._per: Period = options.get("per", "month")
        if self._per not in ("day", "month"):
            msg = f'per: expected "day" or "month", got {self._per!r:.80}'
            raise ConfigurationError(msg)
        event = options.get("event")
        self._event: Event | None = None if event is None else check_event(event)
        self._on_limit = options.get("on_limit")
        self._clock = options.get("clock", utc_now)
        self._is_open = False

    def check(self) -> LimitReached | None:
        """
        Return why the current request is refused, or `None` when it passes; it then counts until its outcome is known.

        May wait for the store and the licensing API, so call it from a thread.
        """
        settlement = find_settlement()
        if settlement is None:
            report_missing_middleware("A usage limit was asked", "it lets every request pass")
            return None
        now = self._clock().astimezone(UTC)
        start, end = _period(self._per, now)
        try:
            number = self._count(settlement, start, now) if settlement.recorder.enabled else 0
        except Exception as error:  # noqa: BLE001 - the app's own work must not fail
            if not self._is_open:
                logger.warning(
                    "The usage limit of %d per %s lets every request pass, as long as its figure is unknown: %s",
                    self._max_billable,
                    self._per,
                    error,
                    extra={"action": "limit_open"},
                )
            self._is_open = True
            if isinstance(error, OutboxError):
                find_meter(settlement.recorder).note_refusal(error, now, self._clock().astimezone(UTC))
            return None
        self._is_open = False
        self._warn(settlement.recorder, number, start)
        if number <= self._max_billable:
            return None
        reached = LimitReached(
            max_billable=self._max_billable,
            per=self._per,
            event=self._event,
            resets_at=end,
            retry_after=math.ceil((end - now).total_seconds()),
        )
        return None if self._on_limit is not None and self._on_limit(reached) else self._refuse(settlement, reached)

    def guard(
        self,
        function: Callable[P, R],
        *,
        is_async: bool,
        in_thread: Callable[[Callable[[], LimitReached | None]], Awaitable[LimitReached | None]],
        answer: Callable[[LimitReached], object],
    ) -> Callable[P, R]:
        """
        Return *function* with this limit before it.

        Args:
            function: The endpoint or view.
            is_async: Whether *function* is a coroutine function.
            in_thread: Runs a call in a thread, as the framework does.
            answer: Makes the framework's response to a request that is refused.
        """
        if is_async:

            @functools.wraps(function)
            async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                reached = await in_thread(self.check)
                return await cast("Any", function)(*args, **kwargs) if reached is None else answer(reached)

            return cast("Callable[P, R]", guarded_async)

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            reached = self.check()
            return function(*args, **kwargs) if reached is None else answer(reached)

        return guarded

    def _count(self, settlement: Settlement, start: datetime, now: datetime) -> int:
        # Returns the number of the request's point in the period, counted from 1.
        recorder = settlement.recorder
        figure = find_meter(recorder).figure(recorder, start, now)
        known = figure.known(self._event, now)
        if known is not None and known - figure.doubtful(self._event) >= self._max_billable:
            return known + 1
        is_far = known is not None and figure.take_share(self._max_billable - known)
        is_new = settlement.reserved is None
        point = settlement.reserve(self._event)
        is_stored = recorder.record(point) if is_new else True
        if settlement.settled:
            # The client has left, and what withdraws the point may have come before it.
            recorder.record(Forget(point.idempotency_key))
        if is_far:
            return (known or 0) + 1
        until = point.idempotency_key if is_stored else None
        add_up = partial(recorder.outbox.added_after, figure.expected.last_row, recorder.keys.fingerprints)
        added = add_up(until=until)
        if until is not None and not added and recorder.outbox.get(until) is None:
            # It is spilled, so the outbox has no order for it: all others come before it
            # (tests/test_usage_limits.py::test_a_limit_holds_while_points_are_spilled).
            own = count_events({point.event: int(point.is_production)}, self._event)
            # Those that may be in both numbers must not keep it out.
            return figure.note(add_up(), self._event, now) + own - figure.doubtful(self._event)
        number = figure.note(added, self._event, now)
        if until is not None and number - figure.doubtful(self._event) <= self._max_billable < number:
            return self._recount(recorder, until, start, now)
        return number

    def _recount(self, recorder: UsageRecorder, key: str, start: datetime, now: datetime) -> int:
        # Asks again, until the points before this one are registered or it is clear that they wait for something else.
        meter, event, pauses = find_meter(recorder), self._event, iter(PAUSES)
        while True:
            expected = recorder.outbox.expected(recorder.keys.fingerprints, until=key)
            # Not a figure of before this count: a point that was registered in between would be in neither of the two.
            figure = meter.renew(recorder, start, now, after=meter.asked)
            number = figure.registered(event) + count_events(expected.by_event, event)
            if number <= self._max_billable or not count_events(expected.pending, event):
                return number
            if (pause := next(pauses, None)) is None:
                figure.is_settled = True
                return number
            time.sleep(pause)

    def _warn(self, recorder: UsageRecorder, number: int, start: datetime) -> None:
        case = f"{self._event} {self._max_billable} {start:%Y-%m-%d}"
        if number > self._max_billable:
            recorder.warn_once(
                f"limit_reached {case}",
                f"The usage limit of {self._max_billable} per {self._per} is reached; requests are refused until the "
                f"{self._per} ends in UTC.",
            )
        elif number >= NEAR * self._max_billable:
            recorder.warn_once(
                f"limit_near {case}", f"{number} of the usage limit of {self._max_billable} per {self._per} are used."
            )

    def _refuse(self, settlement: Settlement, reached: LimitReached) -> LimitReached:
        settlement.skipped = True
        if (reserved := settlement.withdraw()) is not None:
            settlement.recorder.record(reserved)
        return reached


def _period(per: Period, now: datetime) -> tuple[datetime, datetime]:
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return day, day + timedelta(days=1)
    start = day.replace(day=1)
    return start, (start + timedelta(days=31)).replace(day=1)

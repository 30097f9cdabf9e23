"""
Deliver what is due: claim points, register them, write down what came of each.

Trouble of one point is the point's (it is rescheduled, rejected or held); trouble of all points is the queue's: it is
put on *hold* for a stated reason, no attempt is used up, and one point at a time probes whether the trouble is over.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from ..api import backoff
from ..errors import (
    CertificateError,
    EndpointError,
    KeyRefusedError,
    LicensingError,
    NoAnswerError,
    NotSentError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from ..outbox import Change, ClaimedPoint, Outbox, State
from ..points import Registration
from ..settings import Settings
from .pace import OUTAGE_AFTER, REFUSALS_IN_A_ROW, Pace
from .senders import Outcome, Senders

logger: Final = logging.getLogger("remotion_licensing_integrations")

#: Seconds for which the API is trusted to remember an idempotency key; it documents no figure.
KEY_MEMORY: Final = 86_400.0


class Deliverer:
    """
    Registers the points of *outbox* with the licensing API, up to `settings.concurrency` at a time.

    It keeps sender threads with open connections until `close()`.

    Args:
        transport: Replaces the network in tests.
        monotonic: Clock of holds and time limits, in seconds.
        clock: The present moment in epoch seconds.
        uniform: Draws a number between two bounds.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: Settings,
        *,
        transport: Any = None,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._monotonic = monotonic
        self._clock = clock
        self._uniform = uniform
        self._senders = Senders(settings, transport, clock=clock)
        self._turn = threading.Lock()
        self._wanted = False
        self._pace = Pace(settings.concurrency, monotonic=monotonic, uniform=uniform)
        self._in_flight = 0
        self._unwritten: list[Change] = []
        self._pass_ends = math.inf
        self._finish_at = math.inf

    @property
    def pause_reason(self) -> str | None:
        """
        Why delivery is paused, or `None`.
        """
        return self._pace.reason

    @property
    def pause_seconds(self) -> float:
        """
        Seconds until a hold is probed; 0 without one.
        """
        return self._pace.seconds

    def deliver(self, timeout: float | None = None) -> int:
        """
        Deliver until nothing is due, a hold begins, or the time is over; what is unsent then goes back.

        Of several threads one delivers; it goes on for the others, which return at once.

        Args:
            timeout: Seconds; `finish_within` may shorten it.

        Returns:
            How many points were registered.

        Raises:
            OutboxError: The store refuses; claimed points come back when their lease ends.
        """
        ends = math.inf if timeout is None else self._monotonic() + timeout
        registered = 0
        self._wanted = True
        # Asked again after each turn: a thread that came too late to be seen found the turn taken.
        while self._wanted and self._turn.acquire(blocking=False):
            try:
                self._wanted = False
                self._pass_ends = ends
                registered += self._pass()
            finally:
                self._turn.release()
        return registered

    def finish_within(self, timeout: float) -> None:
        """
        Let every `deliver`, also one under way, end within *timeout* seconds from now; callable from any thread.
        """
        self._finish_at = self._monotonic() + timeout
        self._senders.wake()

    def close(self) -> None:
        """
        End the sender threads; one that waits for an answer is left behind.
        """
        self._senders.close()

    def _pass(self) -> int:
        # First what an earlier pass has left, before its points are claimed anew and their answers come too late.
        self._collect(0)
        registered = self._write()
        while self._remaining() and (self._claim() or self._in_flight):
            self._collect(self._remaining() if self._in_flight else 0)
            registered += self._write()
        return registered

    def _claim(self) -> bool:
        ready = self._in_flight == 0 if self._pace.is_paused else self._in_flight <= self._pace.window
        if not ready or self._pace.seconds:
            return False
        # Twice what is sent at a time, so that no sender waits for the store. A probe is one point alone.
        limit = 1 if self._pace.is_paused else 2 * self._pace.window - self._in_flight
        begin_by = self._clock() + self._settings.lease - self._settings.timeout
        claimed = self._outbox.claim(limit, lease=self._settings.lease)
        doubts = {point: self._doubt(point.unanswered_since) for point in claimed}
        # Held unsent, so this attempt was none.
        self._unwritten += [replace(_held(point, doubt), is_attempt=False) for point, doubt in doubts.items() if doubt]
        sure = [point for point, doubt in doubts.items() if not doubt]
        threads = min(self._pace.window, self._in_flight + len(sure))
        self._senders.send(sure, begin_by=begin_by, threads=threads)
        self._in_flight += len(sure)
        return bool(claimed)

    def _collect(self, timeout: float) -> None:
        for claimed, outcome in self._senders.results(timeout):
            self._in_flight -= 1
            self._unwritten.append(claimed.release() if outcome is None else self._judge(claimed, outcome))
        if self._pace.is_paused or not self._remaining():
            unsent = self._senders.take_back()
            self._in_flight -= len(unsent)
            self._unwritten.extend(claimed.release() for claimed in unsent)

    def _write(self) -> int:
        # Kept until the store takes them: an answer forgotten is a point sent again.
        if self._unwritten:
            self._outbox.settle(self._unwritten)
        registered = sum(change.state is State.REGISTERED for change in self._unwritten)
        self._unwritten.clear()
        return registered

    def _remaining(self) -> float:
        return max(0.0, min(self._pass_ends, self._finish_at) - self._monotonic())

    def _judge(self, claimed: ClaimedPoint, outcome: Outcome) -> Change:
        if isinstance(outcome, Registration):
            self._pace.succeed()
            return claimed.register(outcome)
        error = f"{type(outcome).__name__}: {outcome}"
        if isinstance(outcome, RefusedError):
            return self._refused(claimed, error)
        if isinstance(outcome, KeyRefusedError):
            self._pace.pause(f"the licence key is refused; set the right one and restart. {error}")
            return claimed.release(error)
        if isinstance(outcome, (EndpointError, CertificateError)):
            self._pace.pause(f"base_url {self._settings.base_url} does not lead to the licensing API. {error}")
            return claimed.release(error)
        if isinstance(outcome, ThrottledError):
            self._pace.pause(f"the licensing API asks to wait. {error}", seconds=outcome.retry_after)
            return claimed.release(error)
        return self._failed(claimed, outcome, error)

    def _refused(self, claimed: ClaimedPoint, error: str) -> Change:
        if self._pace.refusals >= REFUSALS_IN_A_ROW:
            self._pace.pause(
                f"{REFUSALS_IN_A_ROW} points in a row were refused, so the points are not the cause. {error}"
            )
            return claimed.release(error)
        self._pace.refusals += 1
        logger.error(
            "The licensing API refuses usage point %s for good: %s",
            claimed.point.idempotency_key,
            error,
            extra={"action": "point_rejected"},
        )
        return claimed.reject(error)

    def _failed(self, claimed: ClaimedPoint, outcome: Exception, error: str) -> Change:
        if not isinstance(outcome, LicensingError):
            logger.error("A usage point could not be sent.", exc_info=outcome, extra={"action": "send_crashed"})
        self._pace.failures += 1
        was_paused = self._pace.is_paused
        if was_paused or self._pace.failures >= OUTAGE_AFTER:
            self._pace.pause(f"the licensing API is out of reach. {error}")
        if isinstance(outcome, NotSentError):
            return claimed.release(
                error, delay=0 if self._pace.is_paused else backoff(self._pace.failures, uniform=self._uniform)
            )
        if isinstance(outcome, NoAnswerError):
            return self._unanswered(claimed, error)
        if was_paused:
            return claimed.release(error)
        asked = outcome.retry_after if isinstance(outcome, UnavailableError) else None
        return claimed.reschedule(max(asked or 0.0, backoff(claimed.attempts, uniform=self._uniform)), error)

    def _unanswered(self, claimed: ClaimedPoint, error: str) -> Change:
        doubt = self._doubt(claimed.unanswered_since or datetime.fromtimestamp(self._clock(), UTC))
        if doubt is None:
            return claimed.reschedule(backoff(claimed.attempts, uniform=self._uniform), error, unanswered=True)
        return _held(claimed, f"{doubt}. {error}")

    def _doubt(self, unanswered_since: datetime | None) -> str | None:
        if unanswered_since is None:
            return None
        if self._settings.idempotency == "off":
            return "it may have been counted, and no idempotency key makes a repeat safe"
        if self._clock() - unanswered_since.timestamp() >= KEY_MEMORY:
            return "it may have been counted, longer ago than the API can be trusted to remember its key"
        return None


def _held(claimed: ClaimedPoint, reason: str) -> Change:
    logger.error(
        "Usage point %s is held: %s. See `remotion-licensing reconcile`.",
        claimed.point.idempotency_key,
        reason,
        extra={"action": "point_held"},
    )
    return claimed.hold(reason, unanswered=True)

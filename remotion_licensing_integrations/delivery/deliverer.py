"""
Delivers due points: claims them, registers them, and settles each one by its result.

A problem with one point affects that point only: it is rescheduled, rejected or held. A problem with all points
*pauses* delivery for a stated reason: no attempt is used up, and one point at a time probes whether it is over.
"""

from __future__ import annotations

import math
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from .._support.log import logger
from ..errors import (
    CertificateError,
    EndpointError,
    KeyRefusedError,
    LicensingError,
    NoAnswerError,
    NotSentError,
    OutboxError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from ..outbox import Change, ClaimedPoint, Outbox, State
from ..points import Registration
from ..settings import Settings
from .pace import OUTAGE_AFTER, REFUSALS_IN_A_ROW, Pace, backoff
from .senders import Result, SenderPool

#: Seconds for which the API is trusted to remember an idempotency key; it documents no figure.
KEY_MEMORY: Final = 86_400.0


class Deliverer:
    """
    Registers the points of *outbox* with the licensing API, up to `settings.concurrency` at a time.

    It keeps sender threads with open connections until `close()`.

    Args:
        transport: Replaces the network in tests.
        monotonic: Clock of pauses and time limits, in seconds.
        clock: The current time in epoch seconds.
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
        self._senders = SenderPool(settings, transport, clock=clock)
        self._turn = threading.Lock()
        self._wanted = False
        self._pace = Pace(settings.concurrency, monotonic=monotonic, uniform=uniform)
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._noted_pause: tuple[str, float] | None = None
        self._in_flight = 0
        self._unsettled: list[Change] = []
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
        Seconds until the pause is probed; 0 without one.
        """
        return self._pace.seconds

    def deliver(self, timeout: float | None = None) -> int:
        """
        Deliver until nothing is due, a pause begins, or the time is over; unsent points then go back.

        One thread delivers at a time; it also delivers for the others, which return at once.

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
        # Checked again after each turn: another thread may have called too late for this turn.
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
        End every `deliver`, also one under way, within *timeout* seconds from now; callable from any thread.
        """
        self._finish_at = self._monotonic() + timeout
        self._senders.wake()

    def close(self) -> None:
        """
        End the sender threads without waiting for answers, and forget a pause noted in the outbox.
        """
        self._senders.close()
        # Not while a thread delivers, which may wait for the store: a pause that is not renewed becomes void.
        if self._noted_pause and self._turn.acquire(blocking=False):
            with suppress(OutboxError):
                self._outbox.resume(self._name)
            self._noted_pause = None
            self._turn.release()

    def _pass(self) -> int:
        # First settle what an earlier pass has left, before another deliverer claims these points.
        registered = self._settle(0)
        while self._remaining() and (self._claim() or self._in_flight):
            registered += self._settle(self._remaining() if self._in_flight else 0)
        return registered

    def _claim(self) -> bool:
        ready = self._in_flight == 0 if self._pace.is_paused else self._in_flight <= self._pace.window
        if not ready or self._pace.seconds:
            return False
        # Twice the number of senders, so that none waits for the store. A probe is a single point.
        limit = 1 if self._pace.is_paused else 2 * self._pace.window - self._in_flight
        begin_by = self._clock() + self._settings.lease - self._settings.timeout
        claimed = self._outbox.claim(limit, lease=self._settings.lease)
        doubts = {point: self._doubt(point.unanswered_since) for point in claimed}
        # These points are held without being sent, so the claim is no attempt.
        self._unsettled += [replace(_held(point, doubt), is_attempt=False) for point, doubt in doubts.items() if doubt]
        sure = [point for point, doubt in doubts.items() if not doubt]
        threads = min(self._pace.window, self._in_flight + len(sure))
        self._senders.send(sure, begin_by=begin_by, threads=threads)
        self._in_flight += len(sure)
        return bool(claimed)

    def _settle(self, timeout: float) -> int:
        self._collect(timeout)
        # Kept until the store takes them: a point whose result is lost is sent again.
        if self._unsettled:
            self._outbox.settle(self._unsettled)
        registered = sum(change.state is State.REGISTERED for change in self._unsettled)
        self._unsettled.clear()
        self._note_pause()
        return registered

    def _collect(self, timeout: float) -> None:
        for claimed, result in self._senders.results(timeout):
            self._in_flight -= 1
            self._unsettled.append(self._judge(claimed, result))
        if self._pace.is_paused or not self._remaining():
            unsent = self._senders.take_back()
            self._in_flight -= len(unsent)
            self._unsettled.extend(claimed.release() for claimed in unsent)

    def _note_pause(self) -> None:
        # An operator may ask another process, which does not know about this pause.
        pause = (self._pace.reason, self._pace.until) if self._pace.reason is not None else None
        if pause == self._noted_pause:
            return
        # When the store refuses, the next results try again; the pause holds without a note.
        with suppress(OutboxError):
            if pause is None:
                self._outbox.resume(self._name)
            else:
                self._outbox.pause(self._name, pause[0], self._pace.seconds)
            self._noted_pause = pause

    def _remaining(self) -> float:
        return max(0.0, min(self._pass_ends, self._finish_at) - self._monotonic())

    def _judge(self, claimed: ClaimedPoint, result: Result) -> Change:
        if result is None:
            return claimed.release()
        if isinstance(result, Registration):
            self._pace.succeed()
            return claimed.register(result)
        error = f"{type(result).__name__}: {result}"
        if isinstance(result, RefusedError):
            return self._refused(claimed, error)
        trouble = self._trouble_of_all(result)
        if trouble is None:
            return self._failed(claimed, result, error)
        wait = result.retry_after if isinstance(result, ThrottledError) else None
        self._pace.pause(f"{trouble}. {error}", seconds=wait)
        return claimed.release(error)

    def _trouble_of_all(self, error: Exception) -> str | None:
        if isinstance(error, KeyRefusedError):
            return "the API refused the licence key; set the right key and restart"
        if isinstance(error, (EndpointError, CertificateError)):
            return f"base_url {self._settings.base_url} does not point to the licensing API"
        return "the licensing API asked us to wait" if isinstance(error, ThrottledError) else None

    def _refused(self, claimed: ClaimedPoint, error: str) -> Change:
        if self._pace.refusals >= REFUSALS_IN_A_ROW:
            self._pace.pause(
                f"{REFUSALS_IN_A_ROW} points in a row were refused, so the points are not the cause. {error}"
            )
            return claimed.release(error)
        self._pace.refusals += 1
        logger.error(
            "The licensing API rejected usage point %s: %s",
            claimed.point.idempotency_key,
            error,
            extra={"action": "point_rejected"},
        )
        return claimed.reject(error)

    def _failed(self, claimed: ClaimedPoint, result: Exception, error: str) -> Change:
        if not isinstance(result, LicensingError):
            logger.error("A usage point could not be sent.", exc_info=result, extra={"action": "send_crashed"})
        self._pace.failures += 1
        was_paused = self._pace.is_paused
        if was_paused or self._pace.failures >= OUTAGE_AFTER:
            self._pace.pause(f"the licensing API cannot be reached. {error}")
        if isinstance(result, NotSentError):
            return claimed.release(
                error, delay=0 if self._pace.is_paused else backoff(self._pace.failures, uniform=self._uniform)
            )
        if isinstance(result, NoAnswerError):
            return self._unanswered(claimed, error)
        if was_paused:
            return claimed.release(error)
        asked = result.retry_after if isinstance(result, UnavailableError) else None
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
            return "it may have been counted, so long ago that the API may have forgotten its key"
        return None


def _held(claimed: ClaimedPoint, reason: str) -> Change:
    logger.error(
        "Usage point %s is held: %s. See `remotion-licensing reconcile`.",
        claimed.point.idempotency_key,
        reason,
        extra={"action": "point_held"},
    )
    return claimed.hold(reason, unanswered=True)

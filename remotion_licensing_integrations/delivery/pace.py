"""
A circuit breaker with a slow start: decides whether to deliver, and how many points at a time; no I/O.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from .._support.log import logger

OUTAGE_AFTER: Final = 5  # failures in a row that count as an outage
REFUSALS_IN_A_ROW: Final = 20  # rejected points after which the points are not the cause
FIRST_PROBE: Final = 30.0  # seconds until a pause is probed; doubles up to LAST_PROBE
LAST_PROBE: Final = 900.0  # seconds
MIN_PAUSE: Final = 1.0  # seconds that a pause lasts even when the API asks for none
MAX_BACKOFF: Final = 15 * 60.0  # seconds
_FIRST_BACKOFF: Final = 2.0  # seconds
_MAX_DOUBLINGS: Final = 16  # past the cap, and far below an overflow


class Pace:
    """
    The circuit breaker of one deliverer.

    A pause ends with the first success of a probe: one point, sent when the time of the pause is over. Answers to
    points that were sent before a pause began neither end nor lengthen it.

    Args:
        concurrency: How many points are sent at a time at full speed.
        monotonic: Clock, in seconds.
        uniform: Draws a number between two bounds.
    """

    def __init__(
        self,
        concurrency: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._concurrency = concurrency
        self._monotonic = monotonic
        self._uniform = uniform
        self._interval = 0.0
        #: Why delivery is paused, or `None`.
        self.reason: str | None = None
        #: When a pause is probed, by the monotonic clock.
        self.until: float = 0.0
        #: Whether the API's last answer, before a pause, was that it refuses the licence key.
        self.is_key_refused: bool = False
        #: How many points may be under way.
        self.window: int = 1
        #: Failures and refusals since the last success.
        self.failures: int = 0
        self.refusals: int = 0

    @property
    def is_paused(self) -> bool:
        """
        Whether delivery is paused, a due probe included.
        """
        return self.reason is not None

    @property
    def seconds(self) -> float:
        """
        Seconds until the pause is probed; 0 without one.
        """
        return max(0.0, self.until - self._monotonic()) if self.is_paused else 0.0

    def succeed(self) -> None:
        """
        Note a success: the window doubles up to full speed, and a pause that was probed ends.
        """
        self.failures = self.refusals = 0
        if self.seconds:
            return
        if self.is_paused:
            logger.warning("Delivery of usage points has resumed.", extra={"action": "delivery_resumed"})
            self.reason = None
        self.window = min(self._concurrency, 2 * self.window)

    def note_key(self) -> None:
        """
        Note that there may be another licence key: the probe of a pause for a refused one is due.
        """
        if self.is_key_refused:
            self.until = self._monotonic()

    def pause(self, reason: str, *, seconds: float | None = None) -> None:
        """
        Pause for *seconds*, by default for 30 s ± 20 %, doubling with each failed probe up to 15 minutes.
        """
        if self.seconds:
            return
        self._interval = min(LAST_PROBE, 2 * self._interval) if self.is_paused else FIRST_PROBE
        wait = self._interval * self._uniform(0.8, 1.2) if seconds is None else max(MIN_PAUSE, seconds)
        if reason != self.reason:
            logger.error(
                "Delivery of usage points is paused; the points are kept: %s",
                reason,
                extra={"action": "delivery_paused"},
            )
        self.reason = reason
        self.until = self._monotonic() + wait
        self.window = 1


def backoff(attempts: int, *, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """
    Return how many seconds one point waits for its next attempt: `uniform(0, min(15 min, 2 s x 2**attempts))`.

    The full jitter spreads the points that have gathered in an outage.

    Args:
        attempts: How many attempts have failed.
        uniform: Draws a number between two bounds.
    """
    return uniform(0, min(MAX_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(attempts, _MAX_DOUBLINGS)))

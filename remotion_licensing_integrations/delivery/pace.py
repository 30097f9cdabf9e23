"""
Whether delivery goes on, and how many points at a time: full speed, growing again after trouble, or on hold.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final

logger: Final = logging.getLogger("remotion_licensing_integrations")

OUTAGE_AFTER: Final = 5  # failures in a row that make an outage
REFUSALS_IN_A_ROW: Final = 20  # rejected points after which the fault is not the points'
FIRST_PROBE: Final = 30.0  # seconds until a hold is probed; doubles up to LAST_PROBE
LAST_PROBE: Final = 900.0  # seconds
MIN_WAIT: Final = 1.0  # seconds that a hold lasts even when the API asks for none


class Pace:
    """
    The state of one deliverer between answers; no I/O.

    A hold ends by the first success of a probe, one point sent when its time is over. Answers to points that were sent
    before a hold began neither end nor lengthen it.

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
        self._until = 0.0
        #: Why delivery is on hold, or `None`.
        self.reason: str | None = None
        #: How many points may be under way.
        self.window = 1
        #: Failures and refusals since the last success.
        self.failures = 0
        self.refusals = 0

    @property
    def is_paused(self) -> bool:
        """
        Whether delivery is on hold, a due probe included.
        """
        return self.reason is not None

    @property
    def seconds(self) -> float:
        """
        Seconds until the hold is probed; 0 without one.
        """
        return max(0.0, self._until - self._monotonic()) if self.is_paused else 0.0

    def succeed(self) -> None:
        """
        Note a success: full speed comes nearer, and a probed hold ends.
        """
        self.failures = self.refusals = 0
        if self.seconds:
            return
        if self.is_paused:
            logger.warning("Delivery of usage points goes on.", extra={"action": "delivery_resumed"})
            self.reason = None
        self.window = min(self._concurrency, 2 * self.window)

    def pause(self, reason: str, *, seconds: float | None = None) -> None:
        """
        Pause for *seconds*, by default for 30 s ± 20 %, doubling with each failed probe up to 15 minutes.
        """
        if self.seconds:
            return
        self._interval = min(LAST_PROBE, 2 * self._interval) if self.is_paused else FIRST_PROBE
        wait = self._interval * self._uniform(0.8, 1.2) if seconds is None else max(MIN_WAIT, seconds)
        if reason != self.reason:
            logger.error(
                "Delivery of usage points is on hold, they are kept: %s", reason, extra={"action": "delivery_paused"}
            )
        self.reason = reason
        self._until = self._monotonic() + wait
        self.window = 1

"""
The loop around delivery: wakes when points arrive, when one falls due, and when another process may have left some.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Final

from ..errors import OutboxError
from ..outbox import Outbox
from .deliverer import Deliverer

logger: Final = logging.getLogger("remotion_licensing_integrations")

POLL: Final = 5.0  # seconds between looks for points that other processes left
PRUNE_EVERY: Final = 3_600.0  # seconds
FINISHING: Final = 0.8  # of the time to stop is for sending, the rest for writing back what is unsent
_MIN_PAUSE: Final = 0.05  # seconds, so that a clock which stands still makes no busy loop


class Worker:
    """
    Runs *delivery* over *outbox* in a daemon thread until it is stopped.

    Args:
        retention: Seconds that registered points are kept.
    """

    def __init__(self, outbox: Outbox, delivery: Deliverer, *, retention: float) -> None:
        self._outbox = outbox
        self._delivery = delivery
        self._retention = retention
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._prune_at = 0.0
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="remotion-usage-delivery", daemon=True)

    def start(self) -> None:
        """
        Start the thread.
        """
        self._thread.start()

    def wake(self) -> None:
        """
        Say that points have arrived.
        """
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """
        Deliver what is due within *timeout* seconds, then end; what is unsent goes back to the outbox.
        """
        self._stop.set()
        self._delivery.finish_within(FINISHING * timeout)
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = self._attend()
            # A hold is not over because another point has arrived.
            (self._stop if self._delivery.pause_seconds else self._wake).wait(pause)
            self._wake.clear()
        self._attend()

    def _attend(self) -> float:
        try:
            self._delivery.deliver()
            if not self._stop.is_set():
                self._prune()
            pause = self._pause()
        except OutboxError as error:
            self._report("outbox_refused", f"The outbox cannot be read, delivery waits: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the points are safe and a later try may do
            self._report("delivery_crashed", "Delivery failed, it is tried again.", error)
        else:
            self._trouble = None
            return pause
        return POLL

    def _report(self, action: str, message: str, error: Exception | None = None) -> None:
        if self._trouble != action:
            logger.error(message, exc_info=error, extra={"action": action})
        self._trouble = action

    def _pause(self) -> float:
        if self._delivery.pause_seconds:
            return self._delivery.pause_seconds
        due = self._outbox.next_due()
        wait = POLL * random.uniform(0.8, 1.2)  # noqa: S311 - spreads the processes, no secret
        return max(_MIN_PAUSE, wait if due is None else min(wait, due))

    def _prune(self) -> None:
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + PRUNE_EVERY
            self._outbox.prune(self._retention)

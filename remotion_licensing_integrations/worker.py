"""
The loop around delivery: wakes when points arrive, when one falls due, and when another process may have left some.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Final

from .delivery import Delivery
from .errors import OutboxError
from .outbox import Outbox

logger: Final = logging.getLogger("remotion_licensing_integrations")

POLL: Final = 5.0  # seconds between looks for points that other processes left
PRUNE_EVERY: Final = 3_600.0  # seconds
_MIN_PAUSE: Final = 0.05  # seconds, so that a clock which stands still makes no busy loop


class Worker:
    """
    Runs *delivery* over *outbox* in a daemon thread until it is stopped.

    Args:
        retention: Seconds that registered points are kept.
    """

    def __init__(self, outbox: Outbox, delivery: Delivery, *, retention: float) -> None:
        self._outbox = outbox
        self._delivery = delivery
        self._retention = retention
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._prune_at = 0.0
        self._refused = False
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
        self._delivery.finish_within(timeout)
        self._wake.set()
        self._thread.join(timeout)

    def join(self) -> None:
        """
        Wait until the worker has ended.
        """
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = self._attend()
            # A hold is not over because another point has arrived.
            (self._stop if self._delivery.hold_seconds else self._wake).wait(pause)
            self._wake.clear()
        self._attend()

    def _attend(self) -> float:
        try:
            self._delivery.deliver()
            if not self._stop.is_set():
                self._prune()
            self._refused = False
            return self._pause()
        except OutboxError as error:
            if not self._refused:
                logger.error("The outbox cannot be read, delivery waits: %s", error, extra={"action": "outbox_refused"})  # noqa: TRY400
            self._refused = True
        except Exception:
            logger.exception("Delivery failed, it is tried again.", extra={"action": "delivery_crashed"})
        return POLL

    def _pause(self) -> float:
        if self._delivery.hold_seconds:
            return self._delivery.hold_seconds
        due = self._outbox.next_due()
        wait = POLL * random.uniform(0.8, 1.2)  # noqa: S311 - spreads the processes, no secret
        return max(_MIN_PAUSE, wait if due is None else min(wait, due))

    def _prune(self) -> None:
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + PRUNE_EVERY
            self._outbox.prune(self._retention)

"""
The loop around a deliverer: it wakes when points arrive, when one is due, and when another process may have left some.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Final

from .._support.log import logger
from ..errors import OutboxError
from ..outbox import Outbox
from .deliverer import Deliverer

POLL: Final = 5.0  # seconds between looks for points that other processes left
GATHERING: Final = 0.05  # seconds from the arrival of a point to its delivery, with all that arrive until then
PRUNE_EVERY: Final = 3_600.0  # seconds
FINISHING: Final = 0.8  # of the time to stop is for sending, the rest for giving back unsent points
_MIN_WAIT: Final = 0.05  # seconds, so that a clock that stands still causes no busy loop


class Worker:
    """
    Runs *deliverer* over *outbox* in a daemon thread until it is stopped.

    Args:
        retention: Seconds that registered points are kept.
    """

    def __init__(self, outbox: Outbox, deliverer: Deliverer, *, retention: float) -> None:
        self._outbox = outbox
        self._deliverer = deliverer
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
        Tell the thread that points have arrived.
        """
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """
        Deliver due points within *timeout* seconds, then end; unsent points go back to the outbox.
        """
        self._stop.set()
        self._deliverer.finish_within(FINISHING * timeout)
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            wait = self._attend()
            # Another point must not end a pause.
            (self._stop if self._deliverer.pause_seconds else self._wake).wait(wait)
            # The request that has just recorded a point sends its response now, and delivery would be in its way.
            self._stop.wait(GATHERING)
            self._wake.clear()
        self._attend()

    def _attend(self) -> float:
        try:
            self._deliverer.deliver(gives_way=True)
            if not self._stop.is_set():
                self._prune()
            wait = self._next_wait()
        except OutboxError as error:
            self._report("outbox_refused", f"The outbox cannot be read; delivery waits: {error}")
        except Exception as error:  # noqa: BLE001 - the points are safe, and a later try may succeed
            self._report("delivery_crashed", "Delivery failed; it will be tried again.", error)
        else:
            self._trouble = None
            return wait
        return POLL

    def _report(self, action: str, message: str, error: Exception | None = None) -> None:
        if self._trouble != action:
            logger.error(message, exc_info=error, extra={"action": action})
        self._trouble = action

    def _next_wait(self) -> float:
        if pause := self._deliverer.pause_seconds:
            return min(pause, POLL) if self._deliverer.awaits_key else pause
        due = self._deliverer.next_due()
        wait = POLL * random.uniform(0.8, 1.2)  # noqa: S311 - spreads the processes, no secret
        return max(_MIN_WAIT, wait if due is None else min(wait, due))

    def _prune(self) -> None:
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + PRUNE_EVERY
            self._outbox.prune(self._retention)

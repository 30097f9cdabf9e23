"""
What a recorder has running in one process: a writer, and with `delivery="worker"` a worker.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Final

from ..delivery import Deliverer, Worker
from ..outbox import Outbox
from ..settings import SECONDS_PER_DAY, Settings
from .writer import Writer

logger: Final = logging.getLogger("remotion_licensing_integrations")


class Threads:
    """
    The threads of one process; a fork leaves the child with none of them.
    """

    def __init__(
        self, outbox: Outbox, delivery: Deliverer, settings: Settings, on_commit: Callable[[], object]
    ) -> None:
        self.pid = os.getpid()
        self.delivery = delivery
        retention = settings.retention * SECONDS_PER_DAY
        self.worker = Worker(outbox, delivery, retention=retention) if settings.delivery == "worker" else None
        self.writer = Writer(outbox, on_commit=self.worker.wake if self.worker else on_commit)
        self.writer.start()
        if self.worker:
            self._start(self.worker)

    def _start(self, worker: Worker) -> None:
        try:
            worker.start()
        except RuntimeError as error:
            # No room for another thread: the points are safe, and other processes or the next start deliver them.
            self.worker = None
            logger.error("Delivery cannot start: %s", error, extra={"action": "delivery_crashed"})  # noqa: TRY400 - as above

    def stop(self, stop_at: float) -> None:
        """
        Commit what waits and deliver what is due, by *stop_at* on the monotonic clock.
        """
        try:
            self.writer.stop(stop_at - time.monotonic())
            left = max(0.0, stop_at - time.monotonic())
            if self.worker:
                self.worker.stop(left)
            else:
                self.delivery.finish_within(left)
        finally:
            self.delivery.close()

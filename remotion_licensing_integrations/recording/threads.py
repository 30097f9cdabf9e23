"""
The threads of a recorder in one process: the writer, and where the process delivers, the worker.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from .._support.forks import ForkLock
from .._support.log import logger
from ..delivery import Deliverer, Hooks, Pace, Worker
from ..outbox import Outbox
from ..settings import READ_EVERY, SECONDS_PER_DAY, LicenseKeys, Settings
from .spill import Spill
from .writer import Writer

#: Guards what each process creates once; it is free in a forked child
#: (tests/recording/test_recorder_life.py::test_fork_during_the_first_use).
START_LOCK: Final = ForkLock()


class KeyWatch:
    """
    Looks for another licence key in a process that delivers nothing, so that its new points are for that key.
    """

    def __init__(self, keys: LicenseKeys, pace: Pace) -> None:
        self._keys = keys
        self._pace = pace
        self._stop = threading.Event()

    def start(self) -> None:
        """
        Start the thread, a daemon: a function that hangs must not keep a process alive.
        """
        threading.Thread(target=self._run, name="remotion-usage-keys", daemon=True).start()

    def stop(self) -> None:
        """
        End the thread.
        """
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(READ_EVERY):
            if self._keys.refresh():
                self._pace.note_key()


class Threads:
    """
    A writer, a spill and, with `delivery="worker"`, a worker; a fork leaves the child with none of them.
    """

    def __init__(
        self,
        outbox: Outbox,
        spill_file: Outbox | None,
        settings: Settings,
        keys: LicenseKeys,
        *,
        transport: Any,
        on_commit: Callable[[], object],
        hooks: Hooks,
        pace: Pace,
    ) -> None:
        if keys.can_change:
            pace.note_key()  # while nobody looked, another one may have come
        self.pid: int = os.getpid()
        self.deliverer: Deliverer = Deliverer(outbox, settings, keys=keys, transport=transport, hooks=hooks, pace=pace)
        self.worker: Worker | None = None
        if settings.delivery == "worker":
            self.worker = Worker(outbox, self.deliverer, retention=settings.retention * SECONDS_PER_DAY)
        on_commit = self.worker.wake if self.worker else on_commit
        self.spill: Spill | None = None if spill_file is None else Spill(outbox, spill_file, on_move=on_commit)
        self.writer: Writer = Writer(outbox, spill=self.spill, on_commit=on_commit)
        self.writer.start()
        watch = KeyWatch(keys, pace) if keys.can_change and self.worker is None else None
        self._watch = watch
        try:
            for thread in (self.worker, self.spill, watch):
                if thread is not None:
                    thread.start()
        except RuntimeError as error:
            # The system allows no more threads. The points are safe; other processes or the next start deliver them.
            self.worker = None
            logger.error("Delivery cannot start: %s", error, extra={"action": "delivery_crashed"})

    def stop(self, stop_at: float) -> None:
        """
        Commit waiting points and deliver due ones until *stop_at* on the monotonic clock.
        """
        if self._watch:
            self._watch.stop()
        try:
            self.writer.stop(stop_at - time.monotonic())
            if self.spill:
                self.spill.stop(max(0.0, stop_at - time.monotonic()))
            left = max(0.0, stop_at - time.monotonic())
            if self.worker:
                self.worker.stop(left)
            else:
                self.deliverer.finish_within(left)
        finally:
            self.deliverer.close()

    def counts(self) -> dict[str, Any]:
        """
        Return what these threads have counted, by the fields of `ProcessCounts`.
        """
        teller = self.deliverer.teller
        return {
            "waiting": self.writer.waiting,
            "logged": self.writer.logged,
            "refused": self.writer.is_refused,
            "paused": self.deliverer.pause_reason,
            "recorded": dict(self.writer.recorded),
            "attempts": dict(teller.attempts),
            "registered": dict(teller.registered),
        }

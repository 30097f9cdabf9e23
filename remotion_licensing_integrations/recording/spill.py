"""
The spill: a file of this machine that keeps usage points while the outbox refuses them or is silent.

Fault: a database is away, a disk is full or another process keeps a file locked, and then the process is killed. Points
that waited in its memory would be lost (tests/processes/test_spill.py). A point goes to the outbox under its
idempotency key, which keeps it once, so any process may move it, and a move that was broken off is begun again
(tests/recording/test_spill.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from .._support.log import logger
from ..errors import OutboxError
from ..outbox import Outbox, State
from ..points import UsagePoint

MAX_MOVED: Final = 256  # points in one transaction
MOVE_AFTER: Final = 1.0  # seconds between tries of an outbox that is away
LOOK_AFTER: Final = 5.0  # seconds between looks for points that other processes have left
_SAY_AGAIN: Final = 60.0  # seconds between messages about an outbox that comes and goes


class Spill:
    """
    Keeps points of *outbox* in *file* while the outbox is away, and moves them when it is back.

    Attributes:
        is_away: Whether points go to the file: the outbox has failed, and has not taken all of the file's points yet.
    """

    def __init__(self, outbox: Outbox, file: Outbox) -> None:
        self._outbox = outbox
        self._file = file
        self.is_away = False
        self._said_at: float | None = None
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="remotion-usage-spill", daemon=True)

    def start(self) -> None:
        """
        Start the thread that moves points.

        Raises:
            RuntimeError: The interpreter is shutting down, or the system allows no more threads.
        """
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """
        End the thread within *timeout* seconds; what is not moved stays in the file.
        """
        self._stopped.set()
        self._wake.set()
        self._thread.join(timeout)

    def begin(self, reason: object) -> None:
        """
        Send all points to the file from now on, because of *reason*, until the outbox has taken them.
        """
        now = time.monotonic()
        if not self.is_away and (self._said_at is None or now - self._said_at > _SAY_AGAIN):
            self._said_at = now
            logger.error(
                "The outbox refuses usage points; they are kept in %r and moved when it accepts them again: %s",
                self._file,
                reason,
                extra={"action": "outbox_refused"},
            )
        self.is_away = True

    def keep(self, points: Sequence[UsagePoint]) -> None:
        """
        Commit *points* to the file.

        Raises:
            OutboxError: The file cannot be written.
        """
        self._file.add(points)
        self._wake.set()

    def forget(self, points: Sequence[UsagePoint]) -> None:
        """
        Remove *points*, which the outbox has after all.
        """
        with suppress(OutboxError):  # moving them changes nothing
            self._file.discard([point.idempotency_key for point in points], set(State))

    def move(self) -> int:
        """
        Move all points to the outbox, and return how many there were.

        Raises:
            OutboxError: The outbox refuses, or the file cannot be read; the points stay in the file.
        """
        moved = 0
        while points := self._some():
            self.is_away = True  # one thread at a time uses the outbox
            self._outbox.add(points)
            self.forget(points)
            moved += len(points)
        self.is_away = False
        return moved

    def _some(self) -> Sequence[UsagePoint]:
        return [stored.point for stored in self._file.list(limit=MAX_MOVED)] if self._file.exists() else []

    def _run(self) -> None:
        while not self._stopped.is_set():
            pause = self._wake
            try:
                if moved := self.move():
                    logger.warning(
                        "The outbox accepts usage points again; %d of them were moved to it from %r.",
                        moved,
                        self._file,
                        extra={"action": "outbox_recovered"},
                    )
            except Exception as error:  # noqa: BLE001 - the thread must survive all that a store may do
                self.begin(error)
                pause = self._stopped  # another point must not cause another try
            pause.wait(MOVE_AFTER if pause is self._stopped else LOOK_AFTER)
            self._wake.clear()

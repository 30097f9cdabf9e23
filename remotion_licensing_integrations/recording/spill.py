"""
The spill: a file of this machine that keeps usage points while the outbox refuses them or is silent.

Fault: a database is away, a disk is full or another process keeps a file locked, and then the process is killed. Points
that waited in its memory would be lost (tests/processes/test_spill.py). A point goes to the outbox under its
idempotency key, which keeps it once, so any process may move it, and a move that was broken off is begun again
(tests/recording/test_spill.py).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from .._support.log import logger
from ..outbox import Outbox, State
from ..points import UsagePoint

MAX_MOVED: Final = 256  # points in one transaction
MOVE_AFTER: Final = 1.0  # seconds between tries of an outbox that is away
LOOK_AFTER: Final = 5.0  # seconds between looks for points that other processes have left
SAY_AFTER: Final = 60.0  # seconds between messages about an outbox that is away, or comes and goes


class Spill:
    """
    Keeps points of *outbox* in *file* while the outbox is away, and moves them when it is back.

    Args:
        on_move: Called after points have been moved, from the thread that moves them.

    Attributes:
        is_away: Whether points go to the file: the outbox has failed, or has not taken all of the file's points yet.
    """

    def __init__(self, outbox: Outbox, file: Outbox, *, on_move: Callable[[], object] = lambda: None) -> None:
        self._outbox = outbox
        self._file = file
        self._on_move = on_move
        self.is_away: bool = False
        self._lock = threading.Lock()
        self._failures = 0  # how often the outbox has failed
        self._unreadable = 0  # points of the file that cannot be read; the log has named them
        self._reason: object = None
        self._said_at = -math.inf
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
        if self._thread.is_alive():  # pragma: no branch - the system may have allowed no thread
            self._thread.join(timeout)

    def begin(self, reason: object) -> None:
        """
        Say that the outbox has failed, and why: points go to the file until the outbox has taken them.
        """
        self._reason = reason
        with self._lock:
            self._failures += 1
            self.is_away = True

    def keep(self, points: Sequence[UsagePoint]) -> None:
        """
        Commit *points* to the file.

        Raises:
            OutboxError: The file cannot be written.
        """
        self._file.add(points)
        self.begin(self._reason)
        self._wake.set()
        self._say("The outbox refuses usage points; they are kept in %r and moved when it accepts them again: %s")

    def forget(self, points: Sequence[UsagePoint]) -> None:
        """
        Remove *points*, which the outbox has after all.

        Raises:
            OutboxError: The file cannot be written.
        """
        # The outcome of a deferred point may have come to the file since: it is not in the outbox
        # (tests/recording/test_spill.py::test_outcome_during_a_move).
        open_keys = [point.idempotency_key for point in points if point.succeeded is None]
        keys = [point.idempotency_key for point in points if point.succeeded is not None]
        self._file.discard(open_keys, {State.DEFERRED})
        self._file.discard(keys, set(State))

    def move(self) -> int:
        """
        Move all points to the outbox, and return how many there were.

        Raises:
            OutboxError: The outbox refuses, or the file cannot be read; the points stay in the file.
        """
        moved, failures = 0, self._failures
        while (points := self._some()) and not self._stopped.is_set():
            self.is_away = True  # one thread at a time uses the outbox
            self._outbox.add(points)
            self.forget(points)
            moved, failures = moved + len(points), self._failures
        with self._lock:
            self.is_away = bool(points) or self._failures != failures
        if moved:
            logger.warning(
                "The outbox accepts usage points again; %d were moved to it from %r.",
                moved,
                self._file,
                extra={"action": "outbox_recovered"},
            )
            self._on_move()
        return moved

    def _some(self) -> Sequence[UsagePoint]:
        if not self._file.exists():
            return []
        counts = self._file.counts()
        waiting = counts.pending + counts.deferred
        if waiting == self._unreadable:
            return []
        points = [stored.point for stored in self._file.list(limit=MAX_MOVED)]
        self._unreadable = 0 if points else waiting
        return points

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.move()
                self._wake.wait(LOOK_AFTER)
            except Exception as error:  # noqa: BLE001 - the thread must survive all that a store may do
                self._reason = error
                self._say("Usage points wait in %r until the outbox accepts them: %s")
                self._stopped.wait(MOVE_AFTER)  # another point must not cause another try
            self._wake.clear()

    def _say(self, message: str) -> None:
        if time.monotonic() - self._said_at > SAY_AFTER:
            self._said_at = time.monotonic()
            logger.error(message, self._file, self._reason, extra={"action": "outbox_refused"})

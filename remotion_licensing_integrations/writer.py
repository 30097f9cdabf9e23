"""
The one thread of a process that commits usage points, as many at a time as are waiting.

Requests hand a point over and wait for its commit, but never longer than a bound; a store that refuses keeps its points
in memory for another try. A point that memory has no room for, or that is still there when the process ends, becomes
one log line that `remotion-licensing import` reads back.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from .models import UsagePoint
from .outbox import Outbox

logger: Final = logging.getLogger("remotion_licensing_integrations")

#: What precedes the JSON of a point in the log line of last resort.
LOG_MARK: Final = "remotion-usage-point"

MAX_BATCH: Final = 256  # points in one transaction
MAX_BACKLOG: Final = 10_000  # points kept in memory while the store refuses
RETRY_AFTER: Final = 1.0  # seconds between tries of a refusing store

Notify = Callable[[bool], object]
_Entry = tuple[UsagePoint, Notify]


class Writer:
    """
    Commits points to *outbox* from a thread of its own.

    Args:
        on_commit: Called from the thread after each commit.
    """

    def __init__(self, outbox: Outbox, *, on_commit: Callable[[], object] = lambda: None) -> None:
        self._outbox = outbox
        self._on_commit = on_commit
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._backlog: list[UsagePoint] = []
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="remotion-usage-writer", daemon=True)
        #: Points that could be neither stored nor kept, so that only the log has them.
        self.logged = 0

    def start(self) -> None:
        """
        Start the thread.

        Raises:
            RuntimeError: The interpreter is shutting down.
        """
        self._thread.start()

    def submit(self, point: UsagePoint, notify: Notify) -> None:
        """
        Hand *point* over; *notify* is called from the thread with whether it is committed. Never blocks.
        """
        self._entries.put((point, notify))

    def stop(self, timeout: float) -> None:
        """
        Commit what is waiting, within *timeout* seconds, and end the thread; the log gets what cannot be committed.
        """
        self._stop_at = time.monotonic() + timeout
        self._entries.put(None)
        self._thread.join(timeout)

    @property
    def waiting(self) -> int:
        """
        How many points are not committed yet.
        """
        return self._entries.qsize() + len(self._backlog)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            entries, stopping = self._take()
            if entries or self._backlog:
                self._commit(entries)
        while self._backlog and self._stop_at is not None and time.monotonic() + RETRY_AFTER < self._stop_at:
            time.sleep(RETRY_AFTER)
            self._commit([])
        self._log(self._backlog)

    def _take(self) -> tuple[list[_Entry], bool]:
        entries: list[_Entry] = []
        try:
            entry = self._entries.get(timeout=RETRY_AFTER if self._backlog else None)
            while entry is not None:
                entries.append(entry)
                if len(entries) == MAX_BATCH:
                    return entries, False
                entry = self._entries.get_nowait()
        except queue.Empty:
            return entries, False
        return entries, True

    def _commit(self, entries: Sequence[_Entry]) -> None:
        points = [*self._backlog, *(point for point, _ in entries)]
        try:
            self._outbox.add(points)
        except Exception as error:  # noqa: BLE001 - whatever the store does, the points must live on
            self._keep(points, error)
        else:
            if self._backlog:
                logger.warning(
                    "The outbox stores usage points again; %d kept in memory are safe now.",
                    len(self._backlog),
                    extra={"action": "outbox_recovered"},
                )
            self._backlog = []
            self._on_commit()
        committed = not self._backlog
        for _, notify in entries:
            notify(committed)

    def _keep(self, points: list[UsagePoint], error: Exception) -> None:
        if not self._backlog:
            logger.error(
                "The outbox refuses usage points; up to %d are kept in memory and tried again every second: %s",
                MAX_BACKLOG,
                error,
                extra={"action": "outbox_refused"},
            )
        self._backlog = points[:MAX_BACKLOG]
        self._log(points[MAX_BACKLOG:])

    def _log(self, points: Iterable[UsagePoint]) -> None:
        for point in points:
            self.logged += 1
            log_point(point)


def store_or_log(outbox: Outbox, point: UsagePoint) -> bool:
    """
    Commit *point* from the calling thread, or leave it to the log; return whether it is committed.
    """
    try:
        outbox.add([point])
    except Exception:  # noqa: BLE001 - whatever the store does, the point must live on
        log_point(point)
        return False
    return True


def log_point(point: UsagePoint) -> None:
    """
    Write *point* as the log line that `remotion-licensing import` reads.
    """
    logger.critical("%s %s", LOG_MARK, json.dumps(point.to_json()), extra={"action": "point_logged"})

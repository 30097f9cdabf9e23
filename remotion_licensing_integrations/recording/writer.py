"""
The one thread of a process that commits usage points, as many at a time as are waiting.

Requests hand a point over and wait for its commit, but never longer than a bound; a store that refuses keeps its points
in memory for another try. A point that memory has no room for, or that is still there when the process ends, becomes
one log line that `remotion-licensing import` reads back.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from ..delivery import drain
from ..outbox import Outbox
from ..points import UsagePoint, log_point

logger: Final = logging.getLogger("remotion_licensing_integrations")

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
        self._refused = False
        self._retry_at = 0.0
        self._stop_at: float | None = None
        self._stopping = threading.Lock()
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

    def submit(self, point: UsagePoint, notify: Notify) -> bool:
        """
        Hand *point* over, unless the writer is stopped; return whether it is taken. Never waits for the store.

        *notify* is called from the thread with whether the point is committed.
        """
        # Behind the mark that ends the thread, a point would lie in the queue for ever.
        with self._stopping:
            if self._stop_at is not None:
                return False
            if self._entries.qsize() < MAX_BACKLOG:
                self._entries.put((point, notify))
                return True
        # The store has not answered for long; memory must not grow with its silence.
        self._log([point])
        notify(False)  # noqa: FBT003 - the callback's only argument
        return True

    def stop(self, timeout: float) -> None:
        """
        Commit what is waiting, within *timeout* seconds, and end the thread; the log gets what cannot be committed.
        """
        with self._stopping:
            self._stop_at = time.monotonic() + timeout
            self._entries.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._log_waiting()

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
            # Whatever goes wrong outside the store, in somebody's log handler for instance, the thread must live on.
            with suppress(Exception):
                self._serve(entries, stopping=stopping)
        while self._backlog and self._stop_at is not None and time.monotonic() + RETRY_AFTER < self._stop_at:
            time.sleep(RETRY_AFTER)
            self._commit()
        self._log(self._backlog)

    def _serve(self, entries: Sequence[_Entry], *, stopping: bool) -> None:
        self._backlog.extend(point for point, _ in entries)
        committed = False
        try:
            # Between two tries of a refusing store, requests need not wait for it.
            committed = self._commit() if stopping or time.monotonic() >= self._retry_at else self._keep()
        finally:
            for _, notify in entries:
                notify(committed)

    def _take(self) -> tuple[list[_Entry], bool]:
        entries: list[_Entry] = []
        try:
            entry = self._entries.get(timeout=max(0.0, self._retry_at - time.monotonic()) if self._backlog else None)
            while entry is not None:
                entries.append(entry)
                if len(entries) == MAX_BATCH:
                    return entries, False
                entry = self._entries.get_nowait()
        except queue.Empty:
            return entries, False
        return entries, True

    def _commit(self) -> bool:
        if not self._backlog:
            return True
        try:
            self._outbox.add(tuple(self._backlog))
        except Exception as error:  # noqa: BLE001 - whatever the store does, the points must live on
            self._refuse(error)
            return self._keep()
        if self._refused:
            logger.warning(
                "The outbox stores usage points again; %d kept in memory are safe now.",
                len(self._backlog),
                extra={"action": "outbox_recovered"},
            )
        self._refused = False
        self._backlog = []
        self._on_commit()
        return True

    def _refuse(self, error: Exception) -> None:
        if not self._refused:
            logger.error(
                "The outbox refuses usage points; up to %d are kept in memory and tried again every second: %s",
                MAX_BACKLOG,
                error,
                extra={"action": "outbox_refused"},
            )
        self._refused = True
        self._retry_at = time.monotonic() + RETRY_AFTER

    def _keep(self) -> bool:
        overflow = self._backlog[MAX_BACKLOG:]
        del self._backlog[MAX_BACKLOG:]
        self._log(overflow)
        return False

    def _log(self, points: Iterable[UsagePoint]) -> None:
        for point in points:
            self.logged += 1
            log_point(point)

    def _log_waiting(self) -> None:
        # The store hangs, and the process may be gone before it answers: a point that is stored all the same is
        # recognised by its key when the log is imported.
        entries = drain(self._entries)
        self._log([*self._backlog, *(entry[0] for entry in entries if entry is not None)])
        for entry in entries:
            self._entries.put(entry)


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

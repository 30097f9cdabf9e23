"""
The one thread of a process that commits usage points, in batches of those that are waiting.

Requests hand a point over and wait for its commit, but never longer than a bound. While the store refuses, the points
stay in memory and are tried again (tests/recording/test_writer.py::test_refused_points_are_stored_later). When memory
has no room for a point, or when the process ends before it is stored, it becomes a log line that `remotion-licensing
import` reads back (…::test_overflow_goes_to_the_log, …::test_stop_with_a_store_that_hangs).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from .._support.log import logger
from ..outbox import Outbox, State
from ..points import UsagePoint, log_point

MAX_BATCH: Final = 256  # entries in one transaction
MAX_BACKLOG: Final = 10_000  # entries kept in memory while the store refuses
RETRY_AFTER: Final = 1.0  # seconds between tries of a refusing store


@dataclass(frozen=True, slots=True)
class Forget:
    """
    A request to delete a deferred point whose work has ended without an outcome to record.
    """

    idempotency_key: str


#: What a recorder takes.
Entry = UsagePoint | Forget
#: Called after futures have ended, once for all that end together.
Wake = Callable[[], object]
_Item = tuple[Entry, "Future[bool]", Wake | None]


class Writer:
    """
    Commits entries to *outbox* from a thread, in the order of their arrival.

    Args:
        on_commit: Called from the thread after each commit of points.
    """

    def __init__(self, outbox: Outbox, *, on_commit: Callable[[], object] = lambda: None) -> None:
        self._outbox = outbox
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._backlog: list[_Item] = []
        self._refused = False  # whether the store refuses; the log says so once
        self._blocked = False  # whether refused points wait for the next try
        self._retry_at = 0.0
        self._stop_at: float | None = None
        self._stopping = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="remotion-usage-writer", daemon=True)
        #: Points that only the log has, because they could be neither stored nor kept.
        self.logged = 0

    def start(self) -> None:
        """
        Start the thread.

        Raises:
            RuntimeError: The interpreter is shutting down.
        """
        self._thread.start()

    def submit(self, entry: Entry, wake: Wake | None = None) -> Future[bool] | None:
        """
        Hand *entry* over and return a future that tells whether it is committed; `None` when the writer is stopped.

        Never waits for the store. *wake* is called from the writer's thread when the future has ended.
        """
        future: Future[bool] = Future()
        # An entry queued after the mark that ends the thread would never be read.
        with self._stopping:
            if self._stop_at is not None:
                return None
            if self._queue.qsize() < MAX_BACKLOG:
                self._queue.put((entry, future, wake))
                return future
        # The store has not answered for long; memory must not keep growing.
        self._give_up([entry])
        return ended(wake, committed=False)

    def stop(self, timeout: float) -> None:
        """
        Commit waiting entries within *timeout* seconds and end the thread; the rest goes to the log.
        """
        with self._stopping:
            self._stop_at = time.monotonic() + timeout
            self._queue.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._log_waiting()

    @property
    def waiting(self) -> int:
        """
        How many entries are not committed yet.
        """
        return self._queue.qsize() + len(self._backlog)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            items, stopping = self._take()
            # An error outside the store, in a log handler for instance, must not end the thread.
            with suppress(Exception):
                self._serve(items, stopping=stopping)
        while self._backlog and self._stop_at is not None and time.monotonic() + RETRY_AFTER < self._stop_at:
            time.sleep(RETRY_AFTER)
            self._commit()
        self._give_up(entry for entry, *_ in self._backlog)

    def _take(self) -> tuple[list[_Item], bool]:
        items: list[_Item] = []
        try:
            item = self._queue.get(timeout=max(0.0, self._retry_at - time.monotonic()) if self._backlog else None)
            while item is not None:
                items.append(item)
                if len(items) == MAX_BATCH:
                    return items, False
                item = self._queue.get_nowait()
        except queue.Empty:
            return items, False
        return items, True

    def _serve(self, items: Sequence[_Item], *, stopping: bool) -> None:
        self._backlog += items
        try:
            # While the store refuses, requests need not wait for its next try.
            if stopping or not self._blocked or time.monotonic() >= self._retry_at:
                self._commit()
            self._give_up(entry for entry, *_ in self._backlog[MAX_BACKLOG:])
            del self._backlog[MAX_BACKLOG:]
        finally:
            _end(items, committed=False)

    def _commit(self) -> None:
        kept: list[_Item] = []
        self._blocked = False
        # In order, but points do not wait for a deferral that the store does not forget.
        for forgets, group in groupby(self._backlog, key=lambda item: isinstance(item[0], Forget)):
            items = list(group)
            if self._blocked or not self._store(items):
                kept += items
                self._blocked |= not forgets
        if self._refused and not kept:
            logger.warning(
                "The outbox accepts usage points again; %d points kept in memory are now stored.",
                len(self._backlog),
                extra={"action": "outbox_recovered"},
            )
            self._refused = False
        self._backlog = kept

    def _store(self, items: Sequence[_Item]) -> bool:
        try:
            _store_entries(self._outbox, [entry for entry, *_ in items])
        except Exception as error:  # noqa: BLE001 - the entries must survive all that a store may do
            self._refuse(error)
            return False
        if isinstance(items[0][0], UsagePoint):
            self._on_commit()
        _end(items, committed=True)
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

    def _give_up(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.logged += isinstance(entry, UsagePoint)
            _log_entry(entry)

    def _log_waiting(self) -> None:
        # The store hangs, and the process may end before it answers. If it stores a point after all, the import of the
        # log recognises the point by its key.
        items: list[_Item | None] = []
        with suppress(queue.Empty):
            while True:
                items.append(self._queue.get_nowait())
        self._give_up(item[0] for item in (*self._backlog, *items) if item is not None)
        for item in items:
            self._queue.put(item)


def _end(items: Sequence[tuple[object, Future[bool], Wake | None]], *, committed: bool) -> None:
    wakes: set[Wake] = set()
    for _, future, wake in items:
        if not future.done():
            future.set_result(committed)
            if wake is not None:
                wakes.add(wake)
    for wake in wakes:
        wake()


def ended(wake: Wake | None, *, committed: bool) -> Future[bool]:
    """
    Return a future that has ended already, as `Writer.submit` does.
    """
    future: Future[bool] = Future()
    _end([(None, future, wake)], committed=committed)
    return future


def store_now(outbox: Outbox, entry: Entry) -> bool:
    """
    Commit *entry* from the calling thread, or leave it to the log; return whether it is committed.
    """
    try:
        _store_entries(outbox, [entry])
    except Exception:  # noqa: BLE001 - the entry must survive all that a store may do
        _log_entry(entry)
        return False
    return True


def _store_entries(outbox: Outbox, entries: Sequence[Entry]) -> None:
    points = [entry for entry in entries if isinstance(entry, UsagePoint)]
    if points:
        outbox.add(points)
    else:
        outbox.discard([entry.idempotency_key for entry in entries], {State.DEFERRED})


def _log_entry(entry: Entry) -> None:
    if isinstance(entry, UsagePoint):
        log_point(entry)
    else:
        # It stays visible as deferred, until a person decides.
        logger.error(
            "Deferred usage point %s could not be removed.", entry.idempotency_key, extra={"action": "outbox_refused"}
        )

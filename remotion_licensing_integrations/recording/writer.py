"""
The one thread of a process that commits usage points, in batches of those that are waiting.

Requests hand a point over and wait for its commit, but never longer than a bound. While the store refuses, the points
go to the spill. When the store is silent, another thread takes over, with the spill for its store
(tests/recording/test_spill.py). Where neither takes them, the points stay in memory and are tried again
(tests/recording/test_writer.py::test_refused_points_are_stored_later). When memory has no room for a point, or when the
process ends before it is stored, it becomes a log line that `remotion-licensing import` reads back
(…::test_overflow_goes_to_the_log, …::test_stop_with_a_store_that_hangs).
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import groupby
from typing import Final, cast

from .._support.log import logger
from ..delivery import drain
from ..errors import OutboxError
from ..outbox import Outbox
from ..points import UsagePoint
from .entries import Entry, Forget, Wake, ended, log_entry, store_entries
from .spill import Spill

MAX_BATCH: Final = 256  # entries in one transaction
MAX_BACKLOG: Final = 10_000  # entries kept in memory while the store refuses
RETRY_AFTER: Final = 1.0  # seconds between tries of a refusing store
SILENCE: Final = 0.15  # seconds without an answer, after which a store counts as silent; busy disks take 0.1 s at times

_OUTCOMES: Final = {True: "succeeded", False: "failed", None: "deferred"}

_Item = tuple[Entry, "Future[bool]", Wake | None]


class Writer:
    """
    Commits entries to *outbox* from a thread, in the order of their arrival.

    Args:
        spill: Keeps points that the outbox does not take.
        on_commit: Called from the thread after each commit of points.
    """

    def __init__(
        self, outbox: Outbox, *, spill: Spill | None = None, on_commit: Callable[[], object] = lambda: None
    ) -> None:
        self._outbox = outbox
        self._spill = spill
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._backlog: list[_Item] = []
        self._refused = False  # whether the store refuses; the log says so once
        self._blocked = False  # whether refused points wait for the next try
        self._retry_at = 0.0
        self._stop_at: float | None = None
        self._stopping = threading.Lock()
        # Which thread is on duty, and when it asked the outbox for what that has not answered yet.
        self._duty = threading.Lock()
        self._asked_at = math.inf
        self._thread = self._make_thread()
        #: Points that only the log has, because they could be neither stored nor kept.
        self.logged: int = 0
        #: Points that were committed, by event and outcome.
        self.recorded: Counter[tuple[str, str]] = Counter()

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

    def relieve(self) -> None:
        """
        When the outbox is silent, have a new thread spill what it was asked to store, and go on with what comes.

        The old thread ends when the outbox answers. While the spill refuses, too, there is nothing better to do.
        """
        with self._duty:
            if self._spill is None or time.monotonic() - self._asked_at < SILENCE:
                return
            thread = self._make_thread()
            with suppress(RuntimeError):  # the system allows no more threads
                thread.start()
                self._spill.begin(f"no answer for {SILENCE} s")
                self._asked_at = math.inf
                self._thread = thread
                if self._stop_at is not None:
                    self._queue.put(None)  # the old thread may have taken the mark

    def stop(self, timeout: float) -> None:
        """
        Commit waiting entries within *timeout* seconds and end the thread; the rest goes to the log.
        """
        with self._stopping:
            self._stop_at = time.monotonic() + timeout
            self._queue.put(None)
        while self._thread.is_alive() and (left := self._stop_at - time.monotonic()) > 0:
            self._thread.join(min(left, SILENCE))
            self.relieve()
        if self._thread.is_alive():
            self._log_waiting()

    @property
    def waiting(self) -> int:
        """
        How many entries are not committed yet.
        """
        return self._queue.qsize() + len(self._backlog)

    @property
    def is_refused(self) -> bool:
        """
        Whether neither the outbox nor the spill takes points.
        """
        return self._refused

    def _make_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="remotion-usage-writer", daemon=True)

    @property
    def _is_on_duty(self) -> bool:
        return self._thread is threading.current_thread()

    def _run(self) -> None:
        with self._duty:
            pass  # `relieve` has noted this thread
        stopping = False
        while self._is_on_duty and not stopping:
            items, stopping = self._take()
            # An error outside the store, in a log handler for instance, must not end the thread.
            with suppress(Exception):
                self._serve(items, stopping=stopping)
        while self._is_on_duty and self._backlog and time.monotonic() + RETRY_AFTER < (self._stop_at or 0.0):
            time.sleep(RETRY_AFTER)
            self._commit()
        if self._is_on_duty:
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
            if self._is_on_duty:
                self._give_up(entry for entry, *_ in self._backlog[MAX_BACKLOG:])
                del self._backlog[MAX_BACKLOG:]
        finally:
            if self._is_on_duty:
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
            if not self._is_on_duty:
                return  # the backlog is another thread's now
        if self._refused and not kept:
            logger.warning(
                "The outbox accepts usage points again; %d points kept in memory are now stored.",
                len(self._backlog),
                extra={"action": "outbox_recovered"},
            )
            self._refused = False
        self._backlog = kept

    def _store(self, items: Sequence[_Item]) -> bool:
        entries = [entry for entry, *_ in items]
        points = [entry for entry in entries if isinstance(entry, UsagePoint)]
        is_away = self._spill is not None and self._spill.is_away
        if is_away and (not points or self._spilled(items, points)):
            return bool(points)  # a deferral is forgotten when the outbox is back
        try:
            # A move may find the outbox silent, too, and note so, before `relieve` comes
            # (tests/recording/test_spill.py::test_silent_to_both_threads).
            self._ask(entries, at=math.inf if is_away else time.monotonic())
        except Exception as error:  # noqa: BLE001 - the entries must survive all that a store may do
            return self._is_on_duty and self._evade(items, points, error)
        if points:
            self._on_commit()
        self._settle(items, points)
        if self._spill is not None and not self._is_on_duty:
            with suppress(OutboxError):  # a point in both is still one point
                self._spill.forget(points)
        return True

    def _ask(self, entries: Sequence[Entry], *, at: float) -> None:
        self._asked_at = at
        try:
            store_entries(self._outbox, entries)
        finally:
            with self._duty:
                if self._is_on_duty:
                    self._asked_at = math.inf

    def _evade(self, items: Sequence[_Item], points: Sequence[UsagePoint], error: Exception) -> bool:
        if self._spill is not None and points:
            self._spill.begin(error)
            if self._spilled(items, points):
                return True
        self._refuse(error)
        return False

    def _spilled(self, items: Sequence[_Item], points: Sequence[UsagePoint]) -> bool:
        try:
            cast("Spill", self._spill).keep(points)
        except Exception:  # noqa: BLE001 - as for the outbox
            return False
        self._settle(items, points)
        return True

    def _settle(self, items: Sequence[_Item], points: Sequence[UsagePoint]) -> None:
        # What another thread has taken over, it counts.
        for point in points if self._is_on_duty else ():
            self.recorded[point.event, _OUTCOMES[point.succeeded]] += 1
        _end(items, committed=True)

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
            log_entry(entry)

    def _log_waiting(self) -> None:
        # The store hangs, and the process may end before it answers. If it stores a point after all, the import of the
        # log recognises the point by its key.
        items = drain(self._queue)
        self._give_up(item[0] for item in (*self._backlog, *items) if item is not None)
        for item in items:
            self._queue.put(item)


def _end(items: Sequence[_Item], *, committed: bool) -> None:
    wakes: set[Wake] = set()
    for _, future, wake in items:
        with suppress(InvalidStateError):  # a thread that was relieved may have ended it
            future.set_result(committed)
            if wake is not None:
                wakes.add(wake)
    for wake in wakes:
        wake()

"""
Makes the project's task queue deliver: each commit of points enqueues the task of `tasks.py`.

Due points that another process has left without a task get one, too.

A queue may be slow or down (tests/django/test_tasks.py::test_slow_queue_delays_no_request, …::test_queue_that_is_down).
So a separate thread enqueues: neither a request nor the thread that commits points waits for the queue, and a task that
cannot be enqueued is tried again. Until then its points stay in the outbox.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from django.db import close_old_connections

from .._support.forks import ForkLock
from .._support.log import logger
from ..errors import ConfigurationError, OutboxError
from .conf import NAME

RETRY_AFTER: Final = 30.0  # seconds until a task that could not be enqueued is tried again
LOOK_EVERY: Final = 60.0  # seconds between looks for due points that have no task
MAX_LOOK: Final = 3_600.0  # seconds between looks while each one finds due points

_lock: Final = ForkLock()


def load_task() -> Any:
    """
    Return the delivery task.

    Raises:
        ConfigurationError: The project's `TASKS` do not accept it.
    """
    try:
        from .tasks import deliver  # noqa: PLC0415 - it exists only in projects whose SENDER wants it

        deliver.get_backend().validate_task(deliver)
    except Exception as error:
        msg = f"{NAME}: SENDER: the default backend of TASKS does not accept the delivery task: {error}"
        raise ConfigurationError(msg) from error
    return deliver


def look_after(found: int) -> float:
    """
    Return the seconds until the next look for due points, when so many looks in a row have found some.

    They double up to `MAX_LOOK`: while no worker runs tasks, looks must not fill the queue.
    """
    # The jitter spreads the processes.
    return min(MAX_LOOK, LOOK_EVERY * 2.0 ** min(found, 20)) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret


class Enqueuer:
    """
    Enqueues the delivery task from a daemon thread, once for all commits since the last task.

    Fault: a process dies after its commit and before it enqueues the task. So the thread also looks for due points, at
    its start and then every minute (tests/django/processes/test_tasks.py::test_point_without_a_task).

    Args:
        next_due: Returns the seconds until a point is due, 0 when one is, `None` when none is pending.
    """

    def __init__(self, next_due: Callable[[], float | None]) -> None:
        self._next_due = next_due
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._attended_by = 0
        self._failed = False
        self._stopped = False

    def attend(self) -> None:
        """
        Start the thread once in this process; it looks for points that others have left without a task.
        """
        if self._attended_by != os.getpid():
            self._attended_by = os.getpid()
            self._start(is_wanted=False)

    def wake(self) -> None:
        """
        Say that points have been committed.
        """
        if not self._start(is_wanted=True):
            self._wanted.set()

    def stop(self) -> None:
        """
        End the thread; the points stay in the outbox.
        """
        self._stopped = True
        self._wanted.set()

    def _start(self, *, is_wanted: bool) -> bool:
        with _lock:
            # A fork leaves the child with a thread that does not run.
            if self._thread is not None and self._thread.is_alive():
                return False
            self._wanted = threading.Event()
            if is_wanted:
                self._wanted.set()  # now, because a look before the task would cause another task
            self._thread = threading.Thread(
                target=self._run, args=(self._wanted,), name="remotion-usage-tasks", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError as error:
                self._fail(error)
            return True

    def _run(self, wanted: threading.Event) -> None:
        pause, found = 0.0, 0
        while True:
            is_wanted = wanted.wait(pause)
            wanted.clear()
            if self._stopped:
                return
            try:
                if not is_wanted and not self._failed:
                    found = found + 1 if self._is_due() else 0
                if is_wanted or self._failed or found:
                    load_task().enqueue()
                self._failed, pause = False, look_after(found)
            except Exception as error:  # noqa: BLE001 - the points are safe, however the queue fails
                self._fail(error)
                pause = RETRY_AFTER
            # Like after a request: a queue in a database uses a connection of this thread, which may be lost.
            with suppress(Exception):
                close_old_connections()

    def _is_due(self) -> bool:
        try:
            return self._next_due() == 0
        except OutboxError:
            return False  # without an outbox a task could deliver nothing

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            logger.error(
                "The delivery task cannot be enqueued; the points stay in the outbox: %s",
                error,
                extra={"action": "sender_failed"},
            )
        self._failed = True

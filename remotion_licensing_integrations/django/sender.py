"""
Has the project's task queue deliver: each commit of points enqueues the task of `tasks.py`.

A queue may be slow or down. So a thread of its own enqueues, and neither a request nor the thread that commits points
waits for it; a task that cannot be enqueued is tried again, and its points are in the outbox all the while.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import Any, Final

from django.db import close_old_connections

from ..errors import ConfigurationError
from .conf import NAME

logger: Final = logging.getLogger("remotion_licensing_integrations")

RETRY_AFTER: Final = 30.0  # seconds until a task that could not be enqueued is tried again

_failed = False


def load_task() -> Any:
    """
    Return the task that delivers.

    Raises:
        ConfigurationError: The project's `TASKS` do not take it.
    """
    try:
        from .tasks import deliver  # noqa: PLC0415 - it is there only where it is wanted

        deliver.get_backend().validate_task(deliver)
    except Exception as error:
        msg = f"{NAME}: SENDER: the default backend of TASKS does not take the task that delivers: {error}"
        raise ConfigurationError(msg) from error
    return deliver


def enqueue(**options: Any) -> bool:
    """
    Enqueue the task that delivers, with *options* as `Task.using` takes them; return whether that succeeded.

    A failure is logged once until the next success.
    """
    global _failed  # noqa: PLW0603 - one for the process
    try:
        load_task().using(**options).enqueue()
    except Exception as error:  # noqa: BLE001 - whatever the queue does, the points are safe
        _report(error)
        return False
    _failed = False
    return True


def _report(error: Exception) -> None:
    global _failed  # noqa: PLW0603 - one for the process
    if not _failed:
        logger.error(
            "The task that delivers usage points cannot be enqueued; the points stay in the outbox: %s",
            error,
            extra={"action": "sender_failed"},
        )
    _failed = True


class TaskSender:
    """
    Enqueues the task that delivers from a daemon thread, one for all commits that have come meanwhile.
    """

    def __init__(self) -> None:
        self._thread: _EnqueueThread | None = None

    def wake(self) -> None:
        """
        Say that points have been committed; only the thread that commits calls this.
        """
        # A fork leaves the child with a thread that does not run.
        if self._thread is None or not self._thread.is_alive():
            self._thread = _EnqueueThread()
            try:
                self._thread.start()
            except RuntimeError as error:
                _report(error)
        self._thread.wanted.set()


class _EnqueueThread(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="remotion-usage-tasks", daemon=True)
        self.wanted = threading.Event()

    def run(self) -> None:
        pause = None
        while True:
            self.wanted.wait(pause)
            self.wanted.clear()
            pause = None if enqueue() else RETRY_AFTER
            # As after a request: a queue in a database has a connection of this thread, which may be lost.
            with suppress(Exception):
                close_old_connections()

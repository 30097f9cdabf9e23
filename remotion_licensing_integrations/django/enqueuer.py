"""
Makes the project's task queue deliver: each commit of points enqueues the task of `tasks.py`.

A queue may be slow or down (tests/django/test_tasks.py::test_slow_queue_delays_no_request, …::test_queue_that_is_down).
So a separate thread enqueues: neither a request nor the thread that commits points waits for the queue, and a task that
cannot be enqueued is tried again. Until then its points stay in the outbox.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any, Final

from django.db import close_old_connections

from .._support.log import logger
from ..errors import ConfigurationError
from .conf import NAME

RETRY_AFTER: Final = 30.0  # seconds until a task that could not be enqueued is tried again


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


class Enqueuer:
    """
    Enqueues the delivery task from a daemon thread, once for all commits since the last task.
    """

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed = False

    def wake(self) -> None:
        """
        Say that points have been committed; only the thread that commits calls this.
        """
        # A fork leaves the child with a thread that does not run.
        if self._thread is None or not self._thread.is_alive():
            self._wanted = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._wanted,), name="remotion-usage-tasks", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError as error:
                self._fail(error)
        self._wanted.set()

    def _run(self, wanted: threading.Event) -> None:
        pause = None
        while True:
            wanted.wait(pause)
            wanted.clear()
            try:
                load_task().enqueue()
                self._failed, pause = False, None
            except Exception as error:  # noqa: BLE001 - the points are safe, however the queue fails
                self._fail(error)
                pause = RETRY_AFTER
            # Like after a request: a queue in a database uses a connection of this thread, which may be lost.
            with suppress(Exception):
                close_old_connections()

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            logger.error(
                "The delivery task cannot be enqueued; the points stay in the outbox: %s",
                error,
                extra={"action": "sender_failed"},
            )
        self._failed = True

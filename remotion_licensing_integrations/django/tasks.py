"""
The delivery task, in projects whose `SENDER` is `"django.tasks"`; others have none.

Other task queues import a module of this name in every project, and Django checks a task as soon as it is defined.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from django.utils import timezone

from .._support.log import logger
from ..recording import UsageRecorder, default_recorder
from .conf import sends_by_tasks

MAX_SECONDS: Final = 30.0  # that one task delivers; queues end tasks that take too long
MIN_WAIT: Final = 1.0  # seconds until the next task, and how far apart two of them are

_again_at = 0.0

if sends_by_tasks():
    from django.tasks import task

    @task
    def deliver() -> int:
        """
        Deliver due points, and return how many were registered; another task delivers what is due later.

        Raises:
            OutboxError: The store refuses; claimed points come back when their lease ends.
        """
        recorder = default_recorder()
        registered = recorder.deliver(MAX_SECONDS)
        if recorder.enabled and deliver.get_backend().supports_defer:
            _deliver_again(recorder)
        return registered


def _deliver_again(recorder: UsageRecorder) -> None:
    global _again_at  # noqa: PLW0603 - one for the process
    wait = recorder.next_due()
    if wait is None:
        return
    wait, now = max(wait, MIN_WAIT), time.time()
    # Each process schedules one task at a time: otherwise tasks would multiply as long as points are due.
    if now < _again_at <= now + wait + MIN_WAIT:
        return
    try:
        deliver.using(run_after=timezone.now() + timedelta(seconds=wait)).enqueue()
        _again_at = now + wait
    except Exception as error:  # noqa: BLE001 - the points are safe, however the queue fails
        logger.error("The next delivery task cannot be enqueued: %s", error, extra={"action": "sender_failed"})

"""
The threads that send claimed points to the licensing API.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from ..api import LicensingClient
from ..outbox import ClaimedPoint
from ..points import Registration
from ..settings import LicenseKeys, Settings

#: The API's answer to a point, the error instead of it, or `None` when the point was not sent.
Result = Registration | Exception | None
_T = TypeVar("_T")


class SenderPool:
    """
    Daemon threads that register claimed points, each over its own connection.

    Threads are several times faster than the asynchronous client. They are daemons, because a hanging API must not keep
    a process alive.
    """

    def __init__(self, settings: Settings, keys: LicenseKeys, transport: Any, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._keys = keys
        self._transport = transport
        self._clock = clock
        self._tasks: queue.SimpleQueue[tuple[ClaimedPoint, float] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[ClaimedPoint, Result] | None] = queue.SimpleQueue()
        self._threads = 0
        self._cpu: dict[int, float] = {}

    @property
    def cpu_seconds(self) -> float:
        """
        The CPU time that the threads have spent.
        """
        return sum([*self._cpu.values()])

    def send(self, claimed: Sequence[ClaimedPoint], *, begin_by: float, threads: int) -> None:
        """
        Register *claimed* in at least *threads* threads from now on.

        A point that no thread has begun with by *begin_by*, epoch seconds, comes back with the result `None`: its lease
        might end before its answer. This is wall time, because other clocks stop while a machine sleeps.
        """
        while self._threads < threads:
            threading.Thread(target=self._run, name="remotion-usage-sender", daemon=True).start()
            self._threads += 1
        for point in claimed:
            self._tasks.put((point, begin_by))

    def take_back(self) -> list[ClaimedPoint]:
        """
        Return the points that no thread has begun with.
        """
        tasks = drain(self._tasks)
        for _ in range(tasks.count(None)):
            self._tasks.put(None)  # ends a thread
        return [task[0] for task in tasks if task is not None]

    def results(self, timeout: float) -> list[tuple[ClaimedPoint, Result]]:
        """
        Return finished results; wait up to *timeout* seconds for the first one, or forever with `math.inf`.
        """
        try:
            first = self._results.get(timeout=None if timeout == math.inf else timeout)
        except queue.Empty:
            return []
        return [result for result in (first, *drain(self._results)) if result is not None]

    def wake(self) -> None:
        """
        Let a waiting `results` return.
        """
        self._results.put(None)

    def close(self) -> None:
        """
        End the threads, without waiting for answers.
        """
        for _ in range(self._threads):
            self._tasks.put(None)
        self._threads = 0

    def _run(self) -> None:
        client: LicensingClient | None = None
        with ExitStack() as stack:
            while (task := self._tasks.get()) is not None:
                claimed, begin_by = task
                result: Result = None
                try:
                    if self._clock() < begin_by:
                        client = client or stack.enter_context(self._connect())
                        key = self._keys.wire_key
                        result = client.register_usage_event(license_key=key, **claimed.point.to_event())
                except Exception as error:  # noqa: BLE001 - the deliverer decides what each error means
                    result = error
                self._cpu[threading.get_ident()] = time.thread_time()
                self._results.put((claimed, result))

    def _connect(self) -> LicensingClient:
        return LicensingClient(
            base_url=self._settings.base_url,
            timeout=self._settings.timeout,
            max_attempts=1,
            idempotency=self._settings.idempotency,
            transport=self._transport,
        )


def drain(entries: queue.SimpleQueue[_T]) -> list[_T]:
    """
    Return what is in the queue now.
    """
    drained: list[_T] = []
    try:
        while True:
            drained.append(entries.get_nowait())
    except queue.Empty:
        return drained

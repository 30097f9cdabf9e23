"""
Waits for a commit, in a thread or in an event loop, never longer than a bound.
"""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import Future
from typing import Final
from weakref import WeakKeyDictionary, ref


def wait_for(future: Future[bool], seconds: float) -> bool | None:
    """
    Return the result of *future*, or `None` when there is none after *seconds*.
    """
    try:
        return future.result(seconds)
    except TimeoutError:
        return None


class LoopWaiter:
    """
    The coroutines of one event loop that wait for commits.

    All commits of one transaction wake the loop once, and one timer serves all that wait: for a loop that serves many
    requests, a wake-up and a timer for each would cost more than the commit
    (tests/recording/test_waiting.py::test_a_batch_wakes_its_loop_once, `scripts/bench counted`).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # A weak reference: otherwise the table of waiters would keep every loop.
        self._loop = ref(loop)
        self._waiting: list[tuple[float, Future[bool], asyncio.Future[None]]] = []
        self._rings_at = math.inf

    def wake(self) -> None:
        """
        Make the loop check its futures soon; callable from any thread.
        """
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._resolve)
        except RuntimeError:
            self._waiting.clear()  # the loop has closed, and no coroutine waits any longer

    async def wait(self, future: Future[bool], seconds: float) -> bool | None:
        """
        Same as `wait_for`, but does not block the event loop; `wake` must follow the end of *future*.
        """
        if not future.done():
            loop = asyncio.get_running_loop()
            end = loop.time() + seconds
            # Not `asyncio.wrap_future`: a request that is cancelled would cancel the writer's future.
            done: asyncio.Future[None] = loop.create_future()
            self._waiting.append((end, future, done))
            self._set_timer(loop, end)
            await done
        return future.result() if future.done() else None

    def _resolve(self) -> None:
        now = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            end, future, done = entry
            if not future.done() and now < end and not done.done():
                self._waiting.append(entry)
            elif not done.done():
                done.set_result(None)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, end: float) -> None:
        if end < self._rings_at:
            self._rings_at = end
            loop.call_at(end, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rings_at = math.inf
        self._resolve()
        if self._waiting:
            self._set_timer(loop, min(end for end, _, _ in self._waiting))


_waiters: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWaiter]] = WeakKeyDictionary()


def find_waiter() -> LoopWaiter | None:
    """
    Return the waiter of the running event loop; `None` in code that asyncio does not run.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    waiter = _waiters.get(loop)
    if waiter is None:
        waiter = _waiters[loop] = LoopWaiter(loop)
    return waiter

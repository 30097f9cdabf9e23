"""
Waits for a commit, in a thread or in an event loop, never longer than a bound.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Final
from weakref import WeakKeyDictionary, ref

from .entries import Entry, Wake

Submit = Callable[[Entry, Wake], "Future[bool]"]


#: Seconds after which, again and again, something is done about a commit that is waited for.
ALARM: Final = 0.1


def wait_for(future: Future[bool], seconds: float, alarm: Callable[[], object]) -> bool | None:
    """
    Return the result of *future*, or `None` when there is none after *seconds*; call *alarm* every `ALARM` seconds.
    """
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        with suppress(TimeoutError):
            return future.result(min(ALARM, max(0.0, left)))
        if left <= ALARM:
            return None
        alarm()


class _Waiting:
    """
    A coroutine that waits for the commit of its entry.
    """

    __slots__ = ("_entry", "_submit", "alarm", "done", "end", "future")

    def __init__(
        self, submit: Submit, alarm: Callable[[], object], entry: Entry, end: float, done: asyncio.Future[None]
    ) -> None:
        self._submit = submit
        self._entry = entry
        self.alarm = alarm
        self.end = end
        self.done = done
        self.future: Future[bool] | None = None

    def hand_over(self, wake: Wake) -> None:
        """
        Submit the entry, once.
        """
        if self.future is not None:
            return
        try:
            self.future = self._submit(self._entry, wake)
        except Exception as error:  # noqa: BLE001 - the coroutine must not wait in vain
            self.future = Future()
            self.future.set_exception(error)
            wake()

    @property
    def is_open(self) -> bool:
        """
        Whether it is open whether the entry is committed.
        """
        return self.future is None or not self.future.done()


class LoopWaiter:
    """
    The coroutines of one event loop that wait for commits.

    One turn of the loop hands over all its entries at its end, all commits of one transaction wake the loop once, and
    one timer serves all that wait: for a loop that serves many requests, a wake-up of the writer, one of the loop and a
    timer for each would cost more than the commit (tests/recording/test_waiting.py, `scripts/bench counted server`).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # A weak reference: otherwise the table of waiters would keep every loop.
        self._loop = ref(loop)
        self._fresh: list[_Waiting] = []
        self._waiting: list[_Waiting] = []
        self._rings_at = math.inf

    async def record(self, submit: Submit, entry: Entry, seconds: float, alarm: Callable[[], object]) -> bool | None:
        """
        Return whether *entry* is committed; `None` when that is still open after *seconds*.

        *submit* takes the entry over; it calls what it is passed when the future that it returns has ended. *alarm* is
        called every `ALARM` seconds until then.
        """
        loop = asyncio.get_running_loop()
        # Not `asyncio.wrap_future`: a request that is cancelled would cancel the writer's future.
        waiting = _Waiting(submit, alarm, entry, loop.time() + seconds, loop.create_future())
        if not self._fresh:
            loop.call_soon(self._hand_over, loop)
        self._fresh.append(waiting)
        try:
            await waiting.done
        except BaseException:
            # The request is cancelled, and its loop may end before its next turn.
            waiting.hand_over(self._wake)
            raise
        return waiting.future.result() if waiting.future is not None and not waiting.is_open else None

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        fresh, self._fresh = self._fresh, []
        for waiting in fresh:
            waiting.hand_over(self._wake)
        self._waiting += fresh
        self._set_timer(loop, fresh)

    def _wake(self) -> None:
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._resolve)
        except RuntimeError:
            self._waiting.clear()  # the loop has closed, and no coroutine waits any longer

    def _resolve(self) -> None:
        now = asyncio.get_running_loop().time()
        resolved, self._waiting = self._waiting, []
        for waiting in resolved:
            if waiting.done.done():
                continue
            if waiting.is_open and now < waiting.end:
                self._waiting.append(waiting)
            else:
                waiting.done.set_result(None)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, waiting: list[_Waiting]) -> None:
        if waiting:
            rings_at = min(loop.time() + ALARM, *(each.end for each in waiting))
            if rings_at < self._rings_at:
                self._rings_at = rings_at
                loop.call_at(rings_at, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rings_at = math.inf
        self._resolve()
        for alarm in {waiting.alarm for waiting in self._waiting}:
            alarm()
        self._set_timer(loop, self._waiting)


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

"""
A slow question, asked from a thread and waited for briefly, so that a page is never as slow as what it shows.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

_SHARE: Final = 10.0  # so many times as long as a question has taken, its answer stands


class Lookup(Generic[_T]):
    """
    The answer to a question, asked anew when somebody wants it and it is no longer fresh; safe to use from any thread.

    Args:
        ask: Returns the answer, or raises what `get` then raises.
        fresh_for: Seconds for which an answer stands at least; one that took long stands longer.
        kept_for: Seconds for which an outdated answer is better than none.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        ask: Callable[[], _T],
        *,
        fresh_for: float,
        kept_for: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._fresh_for = fresh_for
        self._kept_for = kept_for
        self._clock = clock
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._asked: Future[_T] | None = None
        self._known: tuple[Future[_T], float, float] | None = None  # until when it is fresh, and until when it is kept

    def ask(self, *, again: bool = False) -> Future[_T]:
        """
        Return the future of a fresh answer; *again* asks even when there is one.
        """
        with self._lock:
            if self._pid != os.getpid():
                # The thread that was asked is the parent's, and will not answer here.
                self._pid, self._asked = os.getpid(), None
            if self._asked is not None:
                return self._asked
            if not again and self._known is not None and self._clock() < self._known[1]:
                return self._known[0]
            future = self._asked = Future[_T]()
        try:
            threading.Thread(target=self._run, args=(future,), name="remotion-usage-lookup", daemon=True).start()
        except RuntimeError:  # the system allows no more threads
            self._run(future)
        return future

    def get(self, patience: float, *, again: bool = False) -> _T | None:
        """
        Return the answer, after at most *patience* seconds: a fresh one, or else the last one, or `None` without any.
        """
        future = self.ask(again=again)
        wait([future], patience)
        if future.done():
            return future.result()
        with self._lock:
            is_kept = self._known is not None and self._clock() < self._known[2]
            return self._known[0].result() if self._known is not None and is_kept else None

    def _run(self, future: Future[_T]) -> None:
        started = self._clock()
        try:
            answer = self._ask()
        except BaseException as error:  # noqa: BLE001 - who waits for it has it
            self._note(future, started)
            future.set_exception(error)
        else:
            self._note(future, started)
            future.set_result(answer)

    def _note(self, future: Future[_T], started: float) -> None:
        now = self._clock()
        with self._lock:
            self._asked = None
            self._known = future, now + max(self._fresh_for, _SHARE * (now - started)), now + self._kept_for

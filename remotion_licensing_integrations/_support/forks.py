"""
A lock for work that a fork must not interrupt.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


class ForkLock:
    """
    A re-entrant lock that a fork waits for and that is free in the child; make one per module, because its hooks stay.

    Args:
        prepare: Called before a fork, with the lock held.
    """

    def __init__(self, prepare: Callable[[], None] = lambda: None) -> None:
        self._lock = threading.RLock()
        self._prepare = prepare
        if hasattr(os, "register_at_fork"):  # Windows has no forks
            # Methods of this object, not of the lock: after a fork the child has another lock.
            os.register_at_fork(before=self._hold, after_in_parent=self.__exit__, after_in_child=self._renew)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _hold(self) -> None:
        self._lock.acquire()
        self._prepare()

    def _renew(self) -> None:
        self._lock = threading.RLock()

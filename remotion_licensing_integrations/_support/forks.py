"""
A lock for work that a fork must not interrupt.
"""

from __future__ import annotations

import os
import threading


class ForkLock:
    """
    A re-entrant lock that a fork waits for and that is free in the child; make one per module, because its hooks stay.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Methods of this object, not of the lock: after a fork the child has another lock.
        os.register_at_fork(before=self.__enter__, after_in_parent=self.__exit__, after_in_child=self._renew)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _renew(self) -> None:
        self._lock = threading.RLock()

"""
A lock for what a fork must not cut in half.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType


class ForkLock:
    """
    A re-entrant lock that a fork waits for, and that is free in the child; make it once per module, as its hooks stay.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Lambdas, not bound methods: a child that forks again has another lock.
        os.register_at_fork(
            before=lambda: self._lock.acquire(),  # noqa: PLW0108 - the current lock
            after_in_parent=lambda: self._lock.release(),  # noqa: PLW0108 - the current lock
            after_in_child=self._renew,
        )

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()

    def _renew(self) -> None:
        self._lock = threading.RLock()

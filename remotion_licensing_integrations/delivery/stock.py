"""
How many claimed points a deliverer holds: enough that no sender waits for the store, few enough to be sent soon.

Fault: each claim and each update is a commit, for which requests that record must wait; with two points for each sender
at a time, a long queue takes a commit for every few points (`scripts/bench delivery server`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAX_CLAIMED: Final = 256  # points
_AHEAD: Final = 0.5  # seconds of work
_WINDOW: Final = 0.1  # seconds over which the speed is measured


class Stock:
    """
    Says how many points to hold, by the speed of their registration.

    Args:
        monotonic: Clock, in seconds.
    """

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._speed = 0.0
        self.begin()

    def begin(self) -> None:
        """
        Measure from now on: there was nothing to do before.
        """
        self._since = self._monotonic()
        self._number = 0

    def note(self, number: int) -> None:
        """
        Note the results of so many points.
        """
        self._number += number
        elapsed = self._monotonic() - self._since
        if elapsed >= _WINDOW:
            self._speed = self._number / elapsed
            self.begin()

    def size(self, senders: int, *, is_busy: bool) -> int:
        """
        Return how many points to hold for so many *senders*; in a process that *is_busy* as few as they need.
        """
        needed = 2 * senders
        return needed if is_busy else max(needed, min(MAX_CLAIMED, int(_AHEAD * self._speed)))

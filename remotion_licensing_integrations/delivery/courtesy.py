"""
Delivery gives way to requests: a small share of the core while the process is busy, all of it afterwards.

Fault: in a process that serves and delivers, every usage point costs its delivery several times the CPU of its request,
and a saturated app would spend most of its core on points that can wait: they are committed (`scripts/bench server`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

#: Of a core: what delivery takes of a busy process, and what when it has fallen too far behind.
SHARE: Final = 0.1
SHARE_BEHIND: Final = 0.5
#: Of a core: above the first, all threads of the process together feel the core; below the second, the process does
#: nothing but deliver.
_BUSY: Final = 0.6
_WORKING: Final = 0.05

_WINDOW: Final = 0.05  # seconds over which the process is watched
_MAX_WAIT: Final = 0.5  # seconds; a load that ends is noticed by then


class Courtesy:
    """
    Says how long delivery waits, by the CPU time that it has spent.

    Args:
        clock: In seconds.
        cpu: CPU seconds of the whole process.

    Attributes:
        is_busy: Whether the process is busy with other work.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.process_time
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self.is_busy: bool = False
        # Since when the process is watched, and since when the share is kept: moment, CPU of all, CPU of delivery.
        self._watched = self._kept = (clock(), cpu(), 0.0)

    def wait(self, spent: float, *, is_behind: bool) -> float:
        """
        Return the seconds to wait before more points are sent.

        Args:
            spent: CPU seconds of delivery, from its beginning.
            is_behind: Whether points have waited for too long.
        """
        now = (self._clock(), self._cpu(), spent)
        wall, total, delivery = (new - old for new, old in zip(now, self._watched, strict=True))
        if wall >= _WINDOW:
            self.is_busy = total > _BUSY * wall and total - delivery > _WORKING * wall
            self._watched = now
        if not self.is_busy:
            self._kept = now
            return 0.0
        wait = (spent - self._kept[2]) / (SHARE_BEHIND if is_behind else SHARE) - (now[0] - self._kept[0])
        if wait > _MAX_WAIT:
            # What is not waited for now is forgiven: a long answer of the API must not stop delivery for as long.
            self._kept = (now[0] + _MAX_WAIT, *now[1:])
        return max(0.0, min(wait, _MAX_WAIT))

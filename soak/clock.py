"""
A clock that jumps, for the processes of the site; the machine's own is left alone.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

#: The environment variable that names the file with the seconds by which the clock is wrong.
VARIABLE: Final = "SOAK_CLOCK"
_LOOK_AFTER: Final = 0.2  # seconds between looks into the file


class Clock:
    """
    Tells the time, with the error that *file* has.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._true_time = time.time
        self._error = 0.0
        self._look_at = 0.0

    def __call__(self) -> float:
        """
        Return epoch seconds.
        """
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_AFTER
            self._error = float(self._file.read_text())
        return self._true_time() + self._error


def install() -> None:
    """
    Have this process ask such a clock, when its environment names the file.
    """
    if file := os.environ.get(VARIABLE):
        time.time = Clock(Path(file))


def set_error(file: Path, seconds: float) -> None:
    """
    Make the clocks over *file* wrong by so many seconds, all at once.
    """
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(file)

"""
Waiting for the signal to stop: Ctrl+C or SIGTERM; on Windows Ctrl+C, Ctrl+Break or the end of the console.

It answers three faults, which `tests/test_signals.py` brings about: a signal before the wait must not be lost; after
the wait the process must have its old handlers; a second signal must end a stop that hangs.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: Windows has a SIGTERM that no program can send, and sends SIGBREAK, also when it closes the console.
STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
)
_LOOK: Final = 0.5  # seconds


@contextmanager
def stop_signals() -> Generator[Callable[[], None]]:
    """
    Yield a function that returns when the process has received one of `STOP_SIGNALS` since the context began.

    The first signal restores the previous handlers, so a second one acts as it did before.

    Raises:
        ValueError: The calling thread is not the main one.
    """
    # Not an `Event`: a handler that interrupts `Event.wait` may need a lock that the interrupted code holds.
    stopped = threading.Lock()
    stopped.acquire()
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def restore() -> None:
        for number, handler in handlers.items():
            # `None` stands for a handler that Python cannot set again.
            signal.signal(number, handler or signal.SIG_DFL)

    def receive(_number: int, _frame: FrameType | None) -> None:
        restore()
        stopped.release()

    def wait() -> None:
        # On Windows, or when another thread takes the signal, the handler runs at the next look.
        while not stopped.acquire(timeout=_LOOK):
            pass  # pragma: no cover - on Linux the main thread takes the signal, and it ends the wait

    try:
        for number in STOP_SIGNALS:
            signal.signal(number, receive)
        yield wait
    finally:
        restore()

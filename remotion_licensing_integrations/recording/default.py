"""
The recorder for code that was given none, such as job functions and webhooks: one for each process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .._support.forks import ForkLock
from .recorder import UsageRecorder

_lock: Final = ForkLock()
_recorder: UsageRecorder | None = None
_ask: Callable[[], UsageRecorder] | None = None


def default_recorder() -> UsageRecorder:
    """
    Return the recorder for code of this process that was given none.

    It is the one that `set_default_recorder` named, else that of the first `UsageMiddleware` of an ASGI app, else in a
    Django project the one that its middleware uses, else one made from the environment.

    Raises:
        ConfigurationError: The settings are unusable.
    """
    if _recorder is None and _ask is not None:
        return _ask()
    if _recorder is None:
        offer_default_recorder(UsageRecorder)
    return _recorder  # type: ignore[return-value] # just set


def set_default_recorder(recorder: UsageRecorder | None) -> None:
    """
    Give *recorder* to all code of this process that has none of its own; `None` leaves it open again.
    """
    global _recorder  # noqa: PLW0603 - one for the process
    with _lock:
        _recorder = recorder


def offer_default_recorder(make: Callable[[], UsageRecorder]) -> None:
    """
    Same as `set_default_recorder`, but only where there is none; what *make* returns.
    """
    global _recorder  # noqa: PLW0603 - one for the process
    with _lock:
        _recorder = _recorder or make()


def ask_for_default_recorder(ask: Callable[[], UsageRecorder]) -> None:
    """
    Have *ask* called each time that a default recorder is needed and there is none.
    """
    global _ask  # noqa: PLW0603 - one for the process
    _ask = ask

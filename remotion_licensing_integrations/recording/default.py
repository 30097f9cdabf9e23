"""
The recorder for code that was given none, such as job functions and webhooks: one for each process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..outbox import MemoryOutbox
from ..settings import Settings
from .keeper import NOTHING, START_LOCK
from .recorder import UsageRecorder

#: The recorder of code that has none: it keeps nothing. Its key, which is never sent, spares it the warning.
OFF: Final = UsageRecorder(Settings(license_key="none"), outbox=MemoryOutbox(), keeper=NOTHING)


class SharedRecorder:
    """
    Returns, when called, the one recorder that *make* makes for this process, on the first call.
    """

    def __init__(self, make: Callable[[], UsageRecorder]) -> None:
        self._make = make
        self._recorder: UsageRecorder | None = None

    def __call__(self) -> UsageRecorder:
        """
        Return the recorder; raises what *make* raises.
        """
        if self._recorder is None:
            with START_LOCK:
                self._recorder = self._recorder or self._make()
        return self._recorder

    def forget(self) -> None:
        """
        Stop the recorder, if there is one; the next call makes a new one.
        """
        with START_LOCK:
            recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.stop()


_named: UsageRecorder | None = None
_provide: Callable[[], UsageRecorder] = SharedRecorder(UsageRecorder)


def default_recorder() -> UsageRecorder:
    """
    Return the recorder for code of this process that was given none.

    It is the one that `set_default_recorder` named, else that of the first `UsageMiddleware` of an ASGI app, else in a
    Django project the one that its middleware uses, else one made from the environment.

    Raises:
        ConfigurationError: The settings are unusable.
    """
    return _named or _provide()


def set_default_recorder(recorder: UsageRecorder | None) -> None:
    """
    Give *recorder* to all code of this process that has none of its own; `None` leaves it open again.
    """
    global _named  # noqa: PLW0603 - one for the process
    _named = recorder


def offer_default_recorder(recorder: UsageRecorder) -> None:
    """
    Same as `set_default_recorder`, but only where none is named.
    """
    set_default_recorder(_named or recorder)


def provide_default_recorder(provide: Callable[[], UsageRecorder]) -> None:
    """
    Have *provide* called, in place of reading the environment, each time that no recorder is named.
    """
    global _provide  # noqa: PLW0603 - one for the process
    _provide = provide

"""
The default recorder of a process, for code without a recorder, such as job functions and webhooks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..outbox import open_outbox
from ..settings import LicenseKeys, Settings, SettingsFields
from .keeper import NOTHING
from .recorder import UsageRecorder
from .threads import START_LOCK


@cache
def null_recorder() -> UsageRecorder:
    """
    Return the recorder that keeps nothing.
    """
    # Its key is never sent; it avoids the warning about a missing key.
    recorder = UsageRecorder(Settings(license_key="none"), outbox=open_outbox("memory://"), keeper=NOTHING)
    recorder.keys = LicenseKeys(Settings())  # so that its tokens are for any key
    return recorder


def make_recorder(settings: Settings | None, recorder: UsageRecorder | None, fields: SettingsFields) -> UsageRecorder:
    """
    Return the recorder that an adapter was given, or one for its settings: as one object, as *fields*, or neither.

    Raises:
        ConfigurationError: A setting is unusable.
        TypeError: A field is not a setting, or there is more than one of the three.
    """
    if (settings is not None) + (recorder is not None) + bool(fields) > 1:
        msg = "it takes one of: settings, recorder, single settings"
        raise TypeError(msg)
    return recorder or UsageRecorder(settings or Settings.from_env(**fields))


class SharedRecorder:
    """
    Returns, when called, the one recorder of this process; the first call creates it with *make*.
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
        Stop the recorder, if there is one; the next call creates a new one.
        """
        with START_LOCK:
            recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.stop()


_named: UsageRecorder | None = None
_provide: Callable[[], UsageRecorder] = SharedRecorder(UsageRecorder)


def default_recorder() -> UsageRecorder:
    """
    Return the recorder of this process for code without one.

    It is the one passed to `set_default_recorder`, else that of the first `UsageMiddleware` of an ASGI app, else in a
    Django project the one that its middleware uses, else one created from the environment.

    Raises:
        ConfigurationError: The settings are unusable.
    """
    return _named or _provide()


def set_default_recorder(recorder: UsageRecorder | None) -> None:
    """
    Make *recorder* the default of this process; `None` removes it.
    """
    global _named  # noqa: PLW0603 - one for the process
    _named = recorder


def offer_default_recorder(recorder: UsageRecorder) -> None:
    """
    Same as `set_default_recorder`, but only when none is set.
    """
    set_default_recorder(_named or recorder)


def provide_default_recorder(provide: Callable[[], UsageRecorder]) -> None:
    """
    Call *provide* for the default recorder, instead of reading the environment, when none is set.
    """
    global _provide  # noqa: PLW0603 - one for the process
    _provide = provide

"""
The licence keys of an app: the one that registers its points, and the fingerprints of the points that it may send.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from .._support.log import logger
from ..errors import ConfigurationError
from ..points import make_fingerprint
from .table import Settings
from .takes import FREE_LICENSE, is_key, read_key_file

READ_EVERY: Final = 5.0  # seconds; a function may ask a server
_MAX_FINGERPRINTS: Final = 8  # each claim looks for each of them


class LicenseKeys:
    """
    The keys that *settings* name, in a file or by a function, too.

    Attributes:
        current: The key that registers points: the public one, or the private one where only that is set.
        private: The key that reads usage.
        is_private: Whether the current key is the private one.
        fingerprint: Of the current key, for new points.
        fingerprints: Of all keys, also those that a file or function has named before, so that points recorded under
            one of them are delivered.
        can_change: Whether a file or a function may name another key.

    Args:
        monotonic: Clock, in seconds.

    Raises:
        ConfigurationError: A file or a function gives no key.
    """

    current: str | None
    private: str | None
    is_private: bool
    fingerprint: str | None

    def __init__(self, settings: Settings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._read_at = monotonic()
        self._lost: set[str] = set()
        self.can_change: bool = any(
            callable(getattr(settings, name)) or getattr(settings, f"{name}_file") is not None for name in _NAMES
        )
        self.fingerprints: tuple[str, ...] = ()
        self._set(*(_read(settings, name) for name in _NAMES))

    def __repr__(self) -> str:
        return f"LicenseKeys({', '.join(self.fingerprints)})"

    @property
    def wire_key(self) -> str | None:
        """
        The current key as it goes to the licensing API.
        """
        return None if self.current == FREE_LICENSE else self.current

    def refresh(self) -> bool:
        """
        Read files and functions again, and return whether points are registered with another key now.

        It does so at most every `READ_EVERY` seconds. What gives no key leaves the last one; the log says so once.
        """
        if not self.can_change or self._monotonic() - self._read_at < READ_EVERY:
            return False
        before, self._read_at = self.current, self._monotonic()
        self._set(*map(self._read_again, _NAMES, (self._public, self.private)))
        return self.current != before

    def _read_again(self, name: str, last: str | None) -> str | None:
        try:
            key = _read(self._settings, name)
        except ConfigurationError as error:
            if name not in self._lost:
                logger.warning("%s; the last key stays in use.", error, extra={"action": "license_key_lost"})
            self._lost.add(name)
            return last
        self._lost.discard(name)
        return key

    def _set(self, public: str | None, private: str | None) -> None:
        keys = [key for key in (public, private) if key is not None]
        known = dict.fromkeys((*map(make_fingerprint, keys), *self.fingerprints))
        self.fingerprints = tuple(known)[:_MAX_FINGERPRINTS]
        self.fingerprint = self.fingerprints[0] if keys else None
        self._public, self.private = public, private
        self.is_private = public is None and private is not None
        self.current = keys[0] if keys else None


_NAMES: Final = ("license_key", "private_license_key")


def _read(settings: Settings, name: str) -> str | None:
    value: str | Callable[[], object] | None = getattr(settings, name)
    path: str | None = getattr(settings, f"{name}_file")
    if path is not None:
        return read_key_file(f"{name}_file", path)
    if not callable(value):
        return value
    try:
        key = value()
    except Exception as error:
        # Its message may hold what the function knows.
        msg = f"{name}: the function raised {type(error).__name__}"
        raise ConfigurationError(msg) from error
    if not is_key(key):
        msg = f"{name}: the function returned no licence key"
        raise ConfigurationError(msg)
    return key

"""
The licence keys of an app: the one that registers its points, and the fingerprints of the points that it may send.
"""

from __future__ import annotations

from ..points import make_fingerprint
from .table import Settings
from .takes import FREE_LICENSE


class LicenseKeys:
    """
    The keys that *settings* name.

    Attributes:
        current: The key that registers points: the public one, or the private one where only that is set.
        is_private: Whether the current key is the private one.
        fingerprint: Of the current key, for new points.
        fingerprints: Of all keys, so that points recorded under one of them are delivered.
    """

    def __init__(self, settings: Settings) -> None:
        keys = [key for key in (settings.license_key, settings.private_license_key) if key is not None]
        self.fingerprints = tuple(map(make_fingerprint, keys))
        self.current = keys[0] if keys else None
        self.is_private = settings.license_key is None and self.current is not None
        self.fingerprint = self.fingerprints[0] if keys else None

    def __repr__(self) -> str:
        return f"LicenseKeys({', '.join(self.fingerprints)})"

    @property
    def wire_key(self) -> str | None:
        """
        The current key as it goes to the licensing API.
        """
        return None if self.current == FREE_LICENSE else self.current

"""
The fingerprint of a licence key.
"""

from __future__ import annotations

from remotion_licensing_integrations.points import make_fingerprint

KEY = "rm_pub_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL"


def test_same_on_every_machine() -> None:
    """
    Rows that another process, machine or release has written are found again.
    """
    assert make_fingerprint(KEY) == "fa66b69667a7f03b"


def test_tells_keys_apart() -> None:
    """
    Each key has another fingerprint.
    """
    assert make_fingerprint(KEY) != make_fingerprint(KEY.swapcase())

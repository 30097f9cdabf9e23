"""
Durable stores of usage points, and the URL that names one.
"""

from __future__ import annotations

from urllib.parse import unquote

from ..errors import ConfigurationError
from ..masking import mask, mask_url
from .base import Change, ClaimedPoint, Counts, Outbox, State, StoredPoint
from .memory import MemoryOutbox

__all__ = ["Change", "ClaimedPoint", "Counts", "MemoryOutbox", "Outbox", "State", "StoredPoint", "open_outbox"]


def open_outbox(url: str) -> Outbox:
    """
    Return the outbox that *url* names; nothing is opened before its first use.

    `sqlite:///relative.sqlite3`, `sqlite:////absolute.sqlite3`, `memory://`.

    Raises:
        ConfigurationError: No store goes by this URL.
    """
    if url == "memory://":
        return MemoryOutbox()
    scheme, marked, path = url.partition(":///")
    if scheme == "sqlite" and marked and not {"?", "#"}.intersection(path):
        from .sqlite import SQLiteOutbox  # noqa: PLC0415 - sqlite3 is not part of every Python

        return SQLiteOutbox(unquote(path))
    msg = f'outbox: {mask(mask_url(url))!r} names no store; expected "sqlite:///file.sqlite3" or "memory://"'
    raise ConfigurationError(msg)

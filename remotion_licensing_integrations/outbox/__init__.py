"""
Durable stores of usage points, and the URL that names one.
"""

from __future__ import annotations

from urllib.parse import unquote

from .._support.masking import mask, mask_url
from ..errors import ConfigurationError
from ._schemes import DATABASES
from .contract import (
    MAX_DELAY,
    MAX_ERROR_LENGTH,
    PAUSE_GRACE,
    UNSETTLED,
    Change,
    ClaimedPoint,
    Counts,
    Finding,
    Outbox,
    Pause,
    State,
    StoredPoint,
)
from .memory import MemoryOutbox
from .rows import POINT, UNREADABLE, possible_keys, to_moment, to_point, to_reason, to_stored, to_stored_points

__all__ = [
    "MAX_DELAY",
    "MAX_ERROR_LENGTH",
    "PAUSE_GRACE",
    "POINT",
    "UNREADABLE",
    "UNSETTLED",
    "Change",
    "ClaimedPoint",
    "Counts",
    "Finding",
    "MemoryOutbox",
    "Outbox",
    "Pause",
    "State",
    "StoredPoint",
    "open_outbox",
    "possible_keys",
    "to_moment",
    "to_point",
    "to_reason",
    "to_stored",
    "to_stored_points",
]


def open_outbox(url: str) -> Outbox:
    """
    Return the outbox that *url* names; nothing is opened before its first use.

    `sqlite:///relative.sqlite3`, `sqlite:////absolute.sqlite3`, `postgresql+psycopg://user:password@host/database`,
    `mysql+pymysql://user:password@host/database`, `memory://`.

    Raises:
        ConfigurationError: No store goes by this URL, or what it needs is not installed.
    """
    if url == "memory://":
        return MemoryOutbox()
    scheme, marked, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and not {"?", "#"}.intersection(rest):
        from .sqlite import SQLiteOutbox  # noqa: PLC0415 - sqlite3 is not part of every Python

        return SQLiteOutbox(unquote(rest[1:]))
    extra = DATABASES.get(scheme)
    if marked and extra:
        return _open_database(url, extra)
    msg = (
        f"outbox: {mask(mask_url(url))!r} names no store; expected "
        '"sqlite:///file.sqlite3", "postgresql+psycopg://…", "mysql+pymysql://…" or "memory://"'
    )
    raise ConfigurationError(msg)


def _open_database(url: str, extra: str) -> Outbox:
    try:
        from .sqlalchemy import SQLAlchemyOutbox  # noqa: PLC0415 - an extra

        return SQLAlchemyOutbox(url)
    except ImportError as error:
        msg = (
            f"outbox: {mask(mask_url(url))!r} needs what is not installed ({error}): "
            f'pip install "remotion-licensing-integrations[{extra}]"'
        )
        raise ConfigurationError(msg) from error

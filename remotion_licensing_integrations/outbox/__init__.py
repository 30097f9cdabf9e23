"""
Where a usage point is durable: points come in, claims on them go out, and their results come back.

    contract.Outbox            what every store promises
    memory.MemoryOutbox        a dictionary
    sql.SQLOutbox              each promise once, as statements over a connection
        statements/            what is run: the SQL of SQLite, PostgreSQL and MySQL
        connection.Connection  where it runs: file.py, server.py (over a driver), django/outbox.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from .._support.masking import mask, mask_url
from ..errors import ConfigurationError
from .connection import Connection, CursorSession, Database, Row, Session, Tables, Values
from .contract import Outbox
from .memory import MemoryOutbox
from .sql import SQLOutbox
from .values import (
    MAX_DELAY,
    MAX_ERROR_LENGTH,
    MAX_FINGERPRINT_LENGTH,
    MAX_LABEL_LENGTH,
    PAUSE_GRACE,
    UNSETTLED,
    Change,
    ClaimedPoint,
    Counts,
    Finding,
    Pause,
    State,
    StoredPoint,
)

if TYPE_CHECKING:
    from .file import SQLiteOutbox
    from .server import ServerOutbox

__all__ = [
    "MAX_DELAY",
    "MAX_ERROR_LENGTH",
    "MAX_FINGERPRINT_LENGTH",
    "MAX_LABEL_LENGTH",
    "PAUSE_GRACE",
    "UNSETTLED",
    "Change",
    "ClaimedPoint",
    "Connection",
    "Counts",
    "CursorSession",
    "Database",
    "Finding",
    "MemoryOutbox",
    "Outbox",
    "Pause",
    "Row",
    "SQLOutbox",
    "SQLiteOutbox",
    "ServerOutbox",
    "Session",
    "State",
    "StoredPoint",
    "Tables",
    "Values",
    "open_outbox",
]

#: The extra that the URL of a database server needs; one driver each, which bounds its waits.
_EXTRAS: Final = {
    **dict.fromkeys(["postgresql+psycopg", "postgresql", "postgres"], "postgresql"),
    **dict.fromkeys(["mysql+pymysql", "mysql", "mariadb+pymysql", "mariadb"], "mysql"),
}


def __getattr__(name: str) -> Any:
    if name == "SQLiteOutbox":
        from .file import SQLiteOutbox  # noqa: PLC0415 - sqlite3 is not part of every Python

        return SQLiteOutbox
    if name == "ServerOutbox":
        from .server import ServerOutbox  # noqa: PLC0415 - the drivers are extras

        return ServerOutbox
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def open_outbox(url: str, *, takes_newer: bool = False) -> Outbox:
    """
    Return the outbox that *url* names; nothing is opened before its first use.

    `sqlite:///relative.sqlite3`, `sqlite:////absolute.sqlite3`, `postgresql+psycopg://user:password@host/database`,
    `mysql+pymysql://user:password@host/database`, `memory://`. With *takes_newer*, a SQLite file that a newer version
    of this package has migrated is used as it is; else it is refused.

    Raises:
        ConfigurationError: No store has such a URL, or its driver is not installed.
    """
    if url == "memory://":
        return MemoryOutbox()
    scheme, marked, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and not {"?", "#"}.intersection(rest):
        from .file import SQLiteOutbox  # noqa: PLC0415 - sqlite3 is not part of every Python

        return SQLiteOutbox(unquote(rest[1:]), takes_newer=takes_newer)
    shown = repr(mask(mask_url(url)))
    if not marked or scheme not in _EXTRAS:
        msg = (
            f"outbox: {shown} is not a supported outbox URL; expected "
            '"sqlite:///file.sqlite3", "postgresql+psycopg://…", "mysql+pymysql://…" or "memory://"'
        )
        raise ConfigurationError(msg)
    try:
        from .server import ServerOutbox  # noqa: PLC0415 - its drivers are extras

        return ServerOutbox(url)
    except ImportError as error:
        install = f'pip install "remotion-licensing-integrations[{_EXTRAS[scheme]}]"'
        msg = f"outbox: {shown} needs a package that is not installed ({error}): {install}"
        raise ConfigurationError(msg) from error

"""
Where a usage point is durable: points come in, claims on them go out, and their results come back.

    contract.Outbox            what every store promises
    memory.MemoryOutbox        a dictionary
    totals.Total               how many points a day has, pruned ones included
    sql.SQLOutbox              each promise once, as statements over a connection
        statements/            what is run: the SQL of SQLite, PostgreSQL and MySQL
        connection.Connection  where it runs: file.py, server.py (over drivers/), django/outbox.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from .._support.lazy import load_later
from .contract import Outbox
from .values import (
    DISCARDABLE,
    EXPECTED_FOR,
    MAX_DELAY,
    MAX_ERROR_LENGTH,
    PAUSE_GRACE,
    Change,
    ClaimedPoint,
    Counts,
    Expected,
    Finding,
    Pause,
    State,
    StoredPoint,
    ignore,
)

if TYPE_CHECKING:
    from .connection import Connection, CursorSession, Database, Row, Session, Tables, Values
    from .file import SQLiteOutbox
    from .memory import MemoryOutbox
    from .server import ServerOutbox
    from .sql import SQLOutbox
    from .totals import DIMENSIONS, MAX_KEPT_CLASSIFICATION, Dimension, Total, beginning
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {
            ".connection": ("Connection", "CursorSession", "Database", "Row", "Session", "Tables", "Values"),
            ".file": ("SQLiteOutbox",),  # sqlite3 is not part of every Python
            ".memory": ("MemoryOutbox",),
            ".server": ("ServerOutbox",),
            ".sql": ("SQLOutbox",),
            ".totals": ("DIMENSIONS", "MAX_KEPT_CLASSIFICATION", "Dimension", "Total", "beginning"),
        },
    )

__all__ = [
    "DIMENSIONS",
    "DISCARDABLE",
    "EXPECTED_FOR",
    "MAX_DELAY",
    "MAX_ERROR_LENGTH",
    "MAX_KEPT_CLASSIFICATION",
    "PAUSE_GRACE",
    "Change",
    "ClaimedPoint",
    "Connection",
    "Counts",
    "CursorSession",
    "Database",
    "Dimension",
    "Expected",
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
    "Total",
    "Values",
    "beginning",
    "ignore",
    "open_outbox",
]


def open_outbox(url: str, *, takes_newer: bool = False) -> Outbox:
    """
    Return the outbox that *url* names; nothing is opened before its first use.

    `sqlite:///relative.sqlite3`, `sqlite:////absolute.sqlite3` (on Windows `sqlite:///C:/absolute.sqlite3`),
    `postgresql+psycopg://user:password@host/database`, `mysql+pymysql://user:password@host/database`, `memory://`. With
    *takes_newer*, a SQLite file that a newer version of this package has migrated is used as it is; else it is refused.

    Raises:
        ConfigurationError: No store has such a URL, or its driver is not installed.
    """
    if url == "memory://":
        from .memory import MemoryOutbox  # noqa: PLC0415 - a process needs one kind of store

        return MemoryOutbox()
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and not {"?", "#"}.intersection(rest):
        from .file import SQLiteOutbox  # noqa: PLC0415 - sqlite3 is not part of every Python

        return SQLiteOutbox(unquote(rest[1:]), takes_newer=takes_newer)
    from .server import ServerOutbox  # noqa: PLC0415 - a process needs one kind of store

    return ServerOutbox(url)

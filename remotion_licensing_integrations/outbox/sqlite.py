"""
SQLite connections for an outbox.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from ..errors import OutboxError
from .connection import Row, Session, T, Values
from .statements import MIGRATIONS

APPLICATION_ID: Final = 0x524D_4C55  # "RMLU"

#: Bytes. SQLite cuts a WAL that restarts to this length, so a longer one has not restarted for a while.
WAL_LIMIT: Final = 4_194_304

_PRAGMAS: Final = (
    "synchronous=FULL",
    # On macOS a flush ends when the disk has the data in its own cache, unless the disk is asked to empty that, too
    # (https://sqlite.org/pragma.html#pragma_fullfsync). Other systems ask anyway, and take no notice of it.
    "fullfsync=ON",
    "mmap_size=0",
    "wal_autocheckpoint=0",
    f"journal_size_limit={WAL_LIMIT}",
)

REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "free some disk space",
    sqlite3.SQLITE_READONLY: "make the file, its -wal and -shm and their directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "check that the path is a file in a writable directory",
    sqlite3.SQLITE_BUSY: "another process has kept the file locked for more than 5 s",
    sqlite3.SQLITE_IOERR: "check the disk",
}


def connect(path: Path) -> sqlite3.Connection:
    """
    Return a connection with durable commits that waits for no lock and makes no checkpoint by itself.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    connection.text_factory = to_text
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def to_text(data: bytes) -> str:
    """
    Return *data* as text; damaged text must not make the other rows unreadable.
    """
    return data.decode(errors="surrogateescape")


def transact(connection: sqlite3.Connection, work: Callable[[SQLiteSession], T]) -> T:
    """
    Run *work* in one transaction, which has the write lock from its beginning.
    """
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        result = work(SQLiteSession(cursor))
        cursor.execute("COMMIT")
    finally:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
    return result


def migrate(connection: sqlite3.Connection, path: Path, *, takes_newer: bool) -> None:
    """
    Bring the file at *path* to the newest schema, in WAL mode.

    Raises:
        OutboxError: The file is another application's, on no local disk, or, unless *takes_newer*, of a newer version
            of this package.
    """
    migrations = MIGRATIONS["sqlite"]
    # Before anything is changed: the file may be another application's.
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if tables and owner != APPLICATION_ID:
        msg = f"outbox {path}: this database belongs to another application; use a separate file"
        raise OutboxError(msg)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations) and not takes_newer:
        msg = f"outbox {path}: schema {version} is newer than this package knows; upgrade the package"
        raise OutboxError(msg)
    if connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
        msg = f"outbox {path}: SQLite cannot use shared memory there; use a file on a local disk"
        raise OutboxError(msg)
    if version < len(migrations):
        marks = (f"PRAGMA user_version={len(migrations)}", f"PRAGMA application_id={APPLICATION_ID}")
        statements = chain(*migrations[version:], marks)
        # A process that is killed in the middle leaves the file as it was
        # (tests/outbox/test_upgrades.py::test_killed_upgrade).
        transact(connection, lambda _: [connection.execute(statement).rowcount for statement in statements])


class SQLiteSession(Session):
    """
    Runs statements with a cursor. None stays open: it would keep the WAL from being reused.
    """

    __slots__ = ("_cursor",)

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def rows(self, sql: str, values: Values) -> list[Row]:
        text, pick = _translate(sql)
        return self._cursor.execute(text, pick(values)).fetchall()

    def change(self, sql: str, values: Values) -> int:
        text, pick = _translate(sql)
        return self._cursor.execute(text, pick(values)).rowcount


@cache
def _translate(sql: str) -> tuple[str, Callable[[Values], Sequence[Any]]]:
    # By position, because sqlite3 takes longer to find values by their names.
    names: list[str] = _PARAMETER.findall(sql)
    text = _PARAMETER.sub("?", sql)
    return (text, itemgetter(*names)) if len(names) > 1 else (text, lambda values: [values[name] for name in names])


_PARAMETER: Final = re.compile(r"%\((\w+)\)s")


def error_code(error: sqlite3.Error) -> int:
    """
    Return the primary result code of *error*; 0 when it has none.
    """
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """
    Whether another user of the file blocks it for now.
    """
    return error_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


def is_damage(error: sqlite3.Error) -> bool:
    """
    Whether the file is damaged.
    """
    return error_code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or str(error).startswith(
        "no such table"
    )

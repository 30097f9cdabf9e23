"""
Long reads of a SQLite file on a connection of their own, so that a look at all points keeps no request waiting.

The faults (`tests/outbox/test_scanning.py`): a count of a million points under the process's one lock would hold up the
commits of its requests; and a fork must neither wait for such a read nor leave its connection to the child.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import ClassVar, Final

from .._support.forks import ForkLock
from .connection import Connection, Database, Row, Values
from .sqlite import SQLiteSession, connect, error_code

_LOOK: Final = 0.001  # seconds between looks whether the scans have ended

_scanning: set[sqlite3.Connection] = set()


def _stop_scans() -> None:
    # A scan that is ended so begins anew after the fork.
    while _scanning:
        for connection in [*_scanning]:
            with suppress(sqlite3.Error):  # it has ended by itself
                connection.interrupt()
        time.sleep(_LOOK)


_lock: Final = ForkLock(_stop_scans)  # held while a scan begins


class ScannedFile(Connection):
    """
    A connection to a SQLite file at `path`.
    """

    path: Path
    database: ClassVar[Database] = "sqlite"  # pyright: ignore[reportIncompatibleMethodOverride] - it is a constant

    def scan(self, sql: str, values: Values) -> list[Row]:
        """
        Same as `rows`, for statements that read much: nobody who writes waits for them.
        """
        self.open()  # creates the file, or says what is wrong with it
        while True:
            try:
                return _scan(self.path, sql, values)
            except sqlite3.Error as error:
                if error_code(error) != sqlite3.SQLITE_INTERRUPT:
                    return self.rows(sql, values)  # which knows what to do about it


def _scan(path: Path, sql: str, values: Values) -> list[Row]:
    with _lock:
        connection = connect(path)
        _scanning.add(connection)
    try:
        # Closed by hand: a cursor that the traceback of an interrupt keeps would keep the file open in a fork.
        with closing(connection), closing(connection.cursor()) as cursor:
            return SQLiteSession(cursor).rows(sql, values)
    finally:
        _scanning.remove(connection)

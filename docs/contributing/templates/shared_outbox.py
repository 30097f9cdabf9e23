"""
The least that a store in SQL is: points in a SQLite file, over one connection that all threads of a process share.

It is a template, not a store to use: `outbox/file.py` says what else several processes, forks and a full disk ask for.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TypeVar

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import Connection, CursorSession, Database, Row, Session, SQLOutbox, Values
from remotion_licensing_integrations.outbox.statements import MIGRATIONS

T = TypeVar("T")


class SharedOutbox(SQLOutbox):
    """
    Points in the file at *path*.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(SharedConnection(path), clock)


class SharedSession(CursorSession):
    """
    Statements name parameters as `%(name)s`; this driver wants `:name`.
    """

    def rows(self, sql: str, values: Values) -> list[Row]:
        """
        Run a statement that has rows.
        """
        return super().rows(re.sub(r"%\((\w+)\)s", r":\1", sql), values)

    def change(self, sql: str, values: Values) -> int:
        """
        Run a statement that changes rows.
        """
        return super().change(re.sub(r"%\((\w+)\)s", r":\1", sql), values)


class SharedConnection(Connection):
    """
    Each call is a transaction, and no two run at once.
    """

    #: Which statements are run.
    database: Database = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def rows(self, sql: str, values: Values) -> list[Row]:
        """
        Run one statement that has rows.
        """
        return self._run(lambda session: session.rows(sql, values))

    def change(self, sql: str, values: Values) -> int:
        """
        Run one statement that changes rows.
        """
        return self._run(lambda session: session.change(sql, values))

    def transact(self, work: Callable[[Session], T]) -> T:
        """
        Run several statements.
        """
        return self._run(work)

    def open(self) -> None:
        """
        Create the tables.
        """
        self.transact(lambda _: None)

    def close(self) -> None:
        """
        Close the file; the next call opens it again.
        """
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _run(self, work: Callable[[Session], T]) -> T:
        with self._lock, self._refusals():
            if self._connection is None:
                self._connection = self._connect()
            return _transact(self._connection, work)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous=FULL")  # durable when a call returns
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for statement in chain(*MIGRATIONS["sqlite"][version:]):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS['sqlite'])}")
        return connection

    @contextmanager
    def _refusals(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            msg = f"outbox {self._path}: {error}"
            raise OutboxError(msg) from error


def _transact(connection: sqlite3.Connection, work: Callable[[Session], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(SharedSession(connection.cursor()))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result

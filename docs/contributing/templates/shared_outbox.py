"""
The least that a store in SQL is: points in one SQLite database in memory, over one connection that all threads share.

It is a template, not a store to use: it forgets everything with its process.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import Connection, CursorSession, Database, Row, Session, SQLOutbox, Values
from remotion_licensing_integrations.outbox.statements import MIGRATIONS

T = TypeVar("T")


class SharedOutbox(SQLOutbox):
    """
    Points in memory, in tables.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(SharedConnection(), clock)


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

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._is_made = False

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

    def close(self) -> None:
        """
        Keep the connection, which has the points.
        """

    def _run(self, work: Callable[[Session], T]) -> T:
        with self._lock, self._refusals():
            self._make()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(SharedSession(self._connection.cursor()))
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            return result

    def _make(self) -> None:
        # A store that outlives its process notes which migrations it has had, see `outbox/sqlite.py`.
        for statement in [] if self._is_made else [each for migration in MIGRATIONS["sqlite"] for each in migration]:
            self._connection.execute(statement)
        self._is_made = True

    @contextmanager
    def _refusals(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            msg = f"outbox in memory: {error}"
            raise OutboxError(msg) from error

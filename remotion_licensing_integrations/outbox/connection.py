"""
The port to a database: `SQLOutbox` says what to run, a connection says where and how safely.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, TypeVar

T = TypeVar("T")
Values = Mapping[str, Any]
Row = tuple[Any, ...]

Database = Literal["sqlite", "postgresql", "mysql"]


class Tables(NamedTuple):
    """
    The names of a store's tables.

    Attributes:
        due_index: The index that serves the order of claims, for each licence key.
        has_datetimes: Whether `occurred_at` is a date and time; else it is epoch seconds.
    """

    points: str = "remotion_usage_point"
    pauses: str = "remotion_pause"
    totals: str = "remotion_daily_total"
    due_index: str = "remotion_usage_point_due"
    has_datetimes: bool = False


_TABLES: Final = Tables()


class Session(ABC):
    """
    Runs statements with parameters as `%(name)s`. The connection raises a refusal as an `OutboxError`.
    """

    @abstractmethod
    def rows(self, sql: str, values: Values, /) -> list[Row]:
        """
        Run a statement that has rows, and return them.
        """

    @abstractmethod
    def change(self, sql: str, values: Values, /) -> int:
        """
        Run a statement that changes rows, and return how many.
        """


class Connection(Session):
    """
    A database with the tables in it. Every call is a transaction: durable when it returns, or nothing has changed.
    """

    @property
    @abstractmethod
    def database(self) -> Database:
        """
        The kind of database.
        """

    @property
    def tables(self) -> Tables:
        """
        The names of the tables.
        """
        return _TABLES

    @abstractmethod
    def transact(self, work: Callable[[Session], T]) -> T:
        """
        Run several statements as one transaction, the first of them a write; *work* may run again.
        """

    def scan(self, sql: str, values: Values) -> list[Row]:
        """
        Same as `rows`, for statements that read much.
        """
        return self.rows(sql, values)

    def encode(self, moment: datetime) -> Any:
        """
        Return *moment* as a value for `occurred_at`.
        """
        return moment.timestamp()

    def decode(self, value: Any) -> datetime:
        """
        Return the moment that `occurred_at` holds.
        """
        return datetime.fromtimestamp(value, UTC)

    def exists(self) -> bool:
        """
        Return whether the store exists already.
        """
        return True

    def open(self) -> None:
        """
        Make the store ready.
        """
        self.rows(f"SELECT id FROM {self.tables.points} LIMIT 1", {})

    @abstractmethod
    def close(self) -> None:
        """
        Close the store; a later call opens it again.
        """


class CursorSession(Session):
    """
    Runs statements with a cursor of Python's database API.
    """

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def rows(self, sql: str, values: Values) -> list[Row]:
        self._cursor.execute(sql, values)
        return [tuple(row) for row in self._cursor.fetchall()]

    def change(self, sql: str, values: Values) -> int:
        self._cursor.execute(sql, values)
        return int(self._cursor.rowcount)

"""
An outbox in the project's own database: the statements of `..outbox`, run by Django's connections.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Final, TypeVar, cast, get_args

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, Error, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.timezone import make_naive

from .._support.forks import ForkLock
from .._support.masking import mask
from ..errors import OutboxError
from ..outbox import Connection, CursorSession, Database, Row, Session, SQLOutbox, Tables, Values
from .models import DUE_INDEX, DailyTotalRecord, PauseRecord, UsagePointRecord

_T = TypeVar("_T")

_KINDS: Final = frozenset(get_args(Database))  # as Django calls them, too
_lock: Final = ForkLock()


class DjangoOutbox(SQLOutbox):
    """
    Points in the table of `UsagePointRecord`.

    Args:
        using: Alias of the database; `None` asks the routers.
        clock: The current time in epoch seconds; `None` is the database server's clock where machines share one,
            else this machine's.
    """

    def __init__(self, using: str | None = None, *, clock: Callable[[], float] | None = None) -> None:
        self._django = DjangoConnection(using)
        super().__init__(self._django, clock)

    def __repr__(self) -> str:
        return f"DjangoOutbox({self.alias!r})"

    @property
    def alias(self) -> str:
        """
        Alias of the database that the points are in.
        """
        return self._django.alias

    @property
    def table(self) -> str:
        """
        Name of the table.
        """
        return self._django.tables.points


class DjangoConnection(Connection):
    """
    The connection that the calling thread has to the database *using*; `None` asks the routers.
    """

    def __init__(self, using: str | None) -> None:
        self._using = using
        # By process: a child keeps its parent's connections, because collecting them would end the parent's sessions.
        self._used: dict[tuple[int, threading.Thread], BaseDatabaseWrapper] = {}

    @property
    def alias(self) -> str:
        """
        Alias of the database.
        """
        return self._using or router.db_for_write(UsagePointRecord) or DEFAULT_DB_ALIAS

    @property
    def database(self) -> Database:
        if refusal := examine_kind(self.alias):
            raise OutboxError(refusal)
        return cast("Database", connections[self.alias].vendor)

    @property
    def tables(self) -> Tables:
        models = UsagePointRecord, PauseRecord, DailyTotalRecord
        points, pauses, totals = (model._meta.db_table for model in models)  # noqa: SLF001 - documented despite its name
        return Tables(points, pauses, totals, DUE_INDEX, has_datetimes=True)

    def encode(self, moment: datetime) -> Any:
        # In projects without time zones, moments are naive and in UTC.
        value = moment if settings.USE_TZ else make_naive(moment, UTC)
        return str(connections[self.alias].ops.adapt_datetimefield_value(value))

    def decode(self, value: Any) -> datetime:
        connection = connections[self.alias]
        column = cast("Any", UsagePointRecord._meta.get_field("occurred_at")).cached_col  # noqa: SLF001 - documented despite its name
        converters = [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]
        moment: datetime = reduce(lambda value, convert: convert(value, column, connection), converters, value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    def rows(self, sql: str, values: Values) -> list[Row]:
        return self._run(lambda session: session.rows(sql, values))

    def change(self, sql: str, values: Values) -> int:
        connection = connections[self.alias]
        with self._refusals(connection):  # it may have to connect first
            is_transaction = connection.get_autocommit()
        # One statement is a transaction by itself; inside a test's transaction it gets a savepoint.
        run = self._run if is_transaction else self.transact
        return run(lambda session: session.change(sql, values))

    def transact(self, work: Callable[[Session], _T]) -> _T:
        def transaction_of_ours(session: Session) -> _T:
            # A savepoint inside a test's transaction, which a refused point must not spoil.
            with transaction.atomic(using=self.alias):
                return work(session)

        return self._run(transaction_of_ours)

    def close(self) -> None:
        """
        Close the connections that ended threads have left; running threads keep theirs.
        """
        with _lock:
            self._close_left()

    def _run(self, work: Callable[[Session], _T]) -> _T:
        connection = connections[self.alias]
        used = connection.connection
        with self._refusals(connection):
            # Without a check before: that would be another trip to the server in each request.
            try:
                return self._work(connection, work)
            except Error:
                if not _is_lost(connection, used):
                    raise
                connection.close()
                return self._work(connection, work)

    def _work(self, connection: BaseDatabaseWrapper, work: Callable[[Session], _T]) -> _T:
        with connection.cursor() as cursor:
            return work(CursorSession(cursor))

    @contextmanager
    def _refusals(self, connection: BaseDatabaseWrapper) -> Generator[None]:
        try:
            yield
        except (Error, ImproperlyConfigured) as error:
            if not connection.in_atomic_block:
                connection.close()
            reason = mask(str(error).partition("\n")[0])
            msg = f"outbox in database {self.alias!r}: {reason}; did you run `manage.py migrate`?"
            raise OutboxError(msg) from error
        finally:
            self._note(connection)

    def _note(self, connection: BaseDatabaseWrapper) -> None:
        user = os.getpid(), threading.current_thread()
        if self._used.get(user) is not connection:
            with _lock:
                self._close_left()
                self._used[user] = connection

    def _close_left(self) -> None:
        left = [(pid, thread) for pid, thread in self._used if pid == os.getpid() and not thread.is_alive()]
        for connection in map(self._used.pop, left):
            connection.inc_thread_sharing()
            connection.close()
            connection.dec_thread_sharing()


def examine_kind(alias: str) -> str | None:
    """
    Return why the database *alias* cannot hold the outbox; `None` when it can.
    """
    if connections[alias].vendor in _KINDS:
        return None
    return (
        f"The outbox cannot be in database {alias!r}, which is {connections[alias].display_name}: it needs SQLite, "
        "PostgreSQL, or MySQL or MariaDB. Name one of these in DATABASE, or another store in OUTBOX."
    )


def _is_lost(connection: BaseDatabaseWrapper, used: object) -> bool:
    # When the server has restarted or a proxy has hung up, a connection fails at its next use. After a transaction of
    # ours Django has replaced it already; inside another transaction it cannot be replaced.
    ours = connection.autocommit and not connection.in_atomic_block
    return ours and used is not None and (connection.connection is not used or not connection.is_usable())

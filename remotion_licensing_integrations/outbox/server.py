"""
An outbox in a database server that any number of machines share: PostgreSQL, MySQL or MariaDB.

The licence key is never stored.

The pool is our own, for both drivers: two connections, one for the thread that records and one for the thread that
delivers. psycopg_pool serves one driver only; it starts threads, which a forked child does not have, and must be closed
before a fork.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from .._support.forks import ForkLock
from .._support.masking import mask, mask_url
from ..errors import OutboxError
from .connection import Connection, CursorSession, Database, Row, Session, T, Tables, Values
from .drivers import MAX_SILENCE, load_driver
from .sql import SQLOutbox
from .statements import MIGRATIONS

_POOL: Final = 2  # connections
_RECYCLE: Final = 300.0  # seconds; firewalls and proxies keep an idle connection for longer
_TRIES: Final = 5
_RETRY_FOR: Final = 2.0  # seconds, after which there is no other try
_RETRY_AFTER: Final = (0.001, 0.05)  # seconds
_MAX_REASON: Final = 500  # characters

_lock: Final = ForkLock()


class ServerOutbox(SQLOutbox):
    """
    Points in the table `remotion_usage_point` of the database at *url*.

    Args:
        url: `postgresql://user:password@host:port/database`, `mysql://…` or `mariadb://…`; its query is for the driver.
        clock: The current time in epoch seconds; `None` is the database server's, which all machines share.

    Raises:
        ConfigurationError: *url* names no database that can be used, or its driver is not installed.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None) -> None:
        self._server = Server(url)
        super().__init__(self._server, clock)

    def __repr__(self) -> str:
        return f"ServerOutbox({str(self._server)!r})"


class Server(Connection):
    """
    The connections of this process to the database at *url*; the first use creates or migrates its tables.
    """

    def __init__(self, url: str) -> None:
        self._shown = mask(mask_url(url))
        self._driver = load_driver(url)
        # By process: a child must not use, close or collect inherited connections; that could end the parent's session.
        self._pools: dict[int, _Pool] = {}

    def __str__(self) -> str:
        return self._shown

    @property
    def database(self) -> Database:
        return self._driver.database

    def exists(self) -> bool:
        [(count,)] = self._run(
            lambda session: session.rows(self._driver.has_table, {"name": Tables().points}), made=False
        )
        return bool(count)

    def rows(self, sql: str, values: Values) -> list[Row]:
        return self._run(lambda session: session.rows(sql, values))

    def change(self, sql: str, values: Values) -> int:
        return self._run(lambda session: session.change(sql, values))

    def transact(self, work: Callable[[Session], T]) -> T:
        def transaction(session: Session) -> T:
            session.change("BEGIN", {})
            result = work(session)
            session.change("COMMIT", {})
            return result

        return self._run(transaction)

    def close(self) -> None:
        with _lock:
            pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.close()

    def _run(self, work: Callable[[Session], T], *, made: bool = True) -> T:
        give_up = time.monotonic() + _RETRY_FOR
        tries = 0
        while True:
            tries += 1
            pool = self._pool()
            connection = pool.take()
            try:
                result = self._use(pool, connection, work, made=made)
            except BaseException as error:
                is_lost = self._driver.is_lost(connection)
                # A failed call must not spoil the next one: dropping the connection ends its transaction.
                pool.drop(connection)
                if not isinstance(error, self._driver.error):
                    raise
                passes = is_lost or self._driver.code(error) in self._driver.passing
                if not passes or tries == _TRIES or time.monotonic() > give_up:
                    # A connection may be the reason, for instance one to a server that has become a replica.
                    self.close()
                    raise self._refusal(error) from error
            else:
                pool.give(connection)
                return result
            time.sleep(random.uniform(*_RETRY_AFTER))  # noqa: S311 - no secret

    def _use(self, pool: _Pool, connection: Any, work: Callable[[Session], T], *, made: bool) -> T:
        with connection.cursor() as cursor:
            session = CursorSession(cursor)
            if made and not pool.is_migrated:
                self._driver.check(connection)
                self._migrate(connection, session)
                pool.is_migrated = True
            return work(session)

    def _migrate(self, connection: Any, session: Session) -> None:
        migrations = MIGRATIONS[self.database]
        if self._version(session) == len(migrations):
            return
        with self._driver.alone(connection, session):
            version = self._version(session)
            for number, statements in enumerate(migrations[version:], version + 1):
                for statement in statements:
                    self._migrate_by(session, statement)
                session.change(f"INSERT INTO remotion_usage_schema (version) VALUES ({number})", {})

    def _migrate_by(self, session: Session, statement: str) -> None:
        try:
            session.change(statement, {})
        except self._driver.error as error:
            # MySQL has no transaction around it, and another process was killed afterwards
            # (tests/outbox/test_upgrades.py::test_killed_upgrade).
            if self._driver.code(error) not in self._driver.done:
                raise

    def _version(self, session: Session) -> int:
        [(tables,)] = session.rows(self._driver.has_table, {"name": "remotion_usage_schema"})
        [(version,)] = session.rows("SELECT MAX(version) FROM remotion_usage_schema", {}) if tables else [(None,)]
        if version is not None and version > len(MIGRATIONS[self.database]):
            msg = f"outbox {self}: schema {version} is newer than this package knows; upgrade the package"
            raise OutboxError(msg)
        return version or 0

    def _pool(self) -> _Pool:
        with _lock:
            return self._pools.setdefault(os.getpid(), _Pool(self._connect))

    def _connect(self) -> Any:
        try:
            return self._driver.connect()
        except Exception as error:
            # Any error: an option may be wrong, a file missing, or the server no database.
            raise self._refusal(error) from error

    def _refusal(self, error: BaseException) -> OutboxError:
        reason = " ".join(mask(str(error), self._driver.secrets).split())
        return OutboxError(f"outbox {self}: {reason[:_MAX_REASON]}")


class _Pool:
    """
    Up to `_POOL` connections, each for one call at a time.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self.is_migrated = False
        self._connect = connect
        self._free = threading.Semaphore(_POOL)
        self._idle: list[tuple[float, Any]] = []
        self._is_closed = False

    def take(self) -> Any:
        if not self._free.acquire(timeout=MAX_SILENCE):
            msg = f"outbox: its {_POOL} connections have been busy for {MAX_SILENCE} s"
            raise OutboxError(msg)
        try:
            while self._idle:
                since, connection = self._idle.pop()
                if time.monotonic() - since < _RECYCLE:
                    return connection
                _close(connection)
            return self._connect()
        except BaseException:
            self._free.release()
            raise

    def give(self, connection: Any) -> None:
        if self._is_closed:
            _close(connection)  # another thread closed the pool during the call
        else:
            self._idle.append((time.monotonic(), connection))
        self._free.release()

    def drop(self, connection: Any) -> None:
        _close(connection)
        self._free.release()

    def close(self) -> None:
        self._is_closed = True
        while self._idle:
            _close(self._idle.pop()[1])


def _close(connection: Any) -> None:
    with suppress(Exception):  # it may be broken, each driver in its own way
        connection.close()

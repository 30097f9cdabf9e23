"""
The connections of an outbox to its database server.

Each process has its own few; what it has inherited by a fork it neither uses nor closes.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from .._support.forks import ForkLock
from .._support.masking import is_secret, mask, mask_url
from ..errors import ConfigurationError, OutboxError
from . import _tables
from ._dialect import MAX_SILENCE, Dialect

_T = TypeVar("_T")

_POOL: Final = 2  # connections: one for the thread that writes, one for the thread that delivers
_RECYCLE: Final = 300.0  # seconds, less than what firewalls and proxies wait before they forget an idle connection
_TRIES: Final = 5
_RETRY_FOR: Final = 2.0  # seconds; what has taken longer is not tried again
_RETRY_AFTER: Final = (0.001, 0.05)  # seconds
_MAX_REASON: Final = 500  # characters

_lock: Final = ForkLock()


class Server:
    """
    The database at *url*; its tables are made or migrated before their first use by each process.

    Raises:
        ConfigurationError: The URL has an option that cannot be read.
        ImportError: The database's driver is not installed.
    """

    def __init__(self, url: URL, dialect: Dialect) -> None:
        self._url = url
        self._dialect = dialect
        # By process: even to collect a parent's connections could end its sessions.
        self._engines: dict[int, Engine] = {}
        self._migrated: set[int] = set()
        self._engine()

    def __str__(self) -> str:
        return mask(mask_url(self._url.render_as_string(hide_password=False)))

    def run(self, work: Callable[[Connection], _T]) -> _T:
        """
        Run *work*, as one transaction unless the dialect commits each statement; it may run again when that may help.

        Raises:
            OutboxError: The database refuses, or cannot be reached.
        """
        return self._persist(lambda engine: self._run(engine, work))

    def exists(self) -> bool:
        """
        Return whether the tables are there.

        Raises:
            OutboxError: The database refuses, or cannot be reached.
        """
        return self._persist(lambda engine: _transact(engine, _tables.exist))

    def close(self) -> None:
        """
        Close the connections of this process that nobody is using.
        """
        pid = os.getpid()
        self._migrated.discard(pid)
        if engine := self._engines.get(pid):
            engine.dispose()

    def _persist(self, work: Callable[[Engine], _T]) -> _T:
        give_up = time.monotonic() + _RETRY_FOR
        tries = 0
        while True:
            tries += 1
            try:
                return work(self._engine())
            except SQLAlchemyError as error:
                if not self._passes(error) or tries == _TRIES or time.monotonic() > give_up:
                    # No connection stays that may be the reason, to a server that has become a replica for instance.
                    self.close()
                    raise self._refusal(error) from error
            time.sleep(random.uniform(*_RETRY_AFTER))  # noqa: S311 - no secret

    def _run(self, engine: Engine, work: Callable[[Connection], _T]) -> _T:
        pid = os.getpid()
        if pid not in self._migrated:
            _transact(engine.execution_options(isolation_level="READ COMMITTED"), self._migrate)
            self._migrated.add(pid)
        return _transact(engine, work)

    def _migrate(self, connection: Connection) -> None:
        self._dialect.check(connection)
        _tables.migrate(connection, self._dialect.alone)

    def _engine(self) -> Engine:
        pid = os.getpid()
        with _lock:
            if pid not in self._engines:
                self._engines[pid] = self._new_engine()
            return self._engines[pid]

    def _new_engine(self) -> Engine:
        given = self._url.query
        try:
            engine = create_engine(
                self._url,
                connect_args={name: value for name, value in self._dialect.options.items() if name not in given},
                hide_parameters=True,
                isolation_level=self._dialect.isolation,
                max_overflow=0,
                pool_recycle=_RECYCLE,
                pool_reset_on_return=None,  # every transaction has ended by then
                pool_size=_POOL,
                pool_timeout=MAX_SILENCE,
            )
        except ValueError as error:
            msg = f"outbox: {self} has an option that cannot be read: {self._masked(error)}"
            raise ConfigurationError(msg) from error
        event.listen(engine, "do_connect", self._connect)
        return engine

    def _connect(self, dialect: Any, _record: object, _arguments: object, options: dict[str, Any]) -> object:
        try:
            return self._dialect.connect(dialect.dbapi, options)
        except dialect.dbapi.Error:
            raise
        except Exception as error:
            # Of an option that the driver does not know, a file that is not there, a server that is no database.
            raise self._refusal(error) from error

    def _passes(self, error: SQLAlchemyError) -> bool:
        if not isinstance(error, DBAPIError) or error.orig is None:
            return False
        return error.connection_invalidated or self._dialect.code(error.orig) in self._dialect.passing

    def _refusal(self, error: Exception) -> OutboxError:
        return OutboxError(f"outbox {self}: {self._masked(getattr(error, 'orig', None) or error)}")

    def _masked(self, error: BaseException) -> str:
        secret = [value for name in self._url.query for value in self._url.normalized_query[name] if is_secret(name)]
        text = mask(str(error), [self._url.password, *secret])
        return " ".join(text.split())[:_MAX_REASON]


def _transact(engine: Engine, work: Callable[[Connection], _T]) -> _T:
    pool = engine.pool
    try:
        with engine.begin() as connection:
            return work(connection)
    finally:
        if engine.pool is not pool:
            pool.dispose()  # closed meanwhile by another thread, which could not close this connection

"""
One SQLite file under one discipline, safe for threads, processes and forks.

What is done here and why (measured with kill -9, simulated power cuts, full disks and damaged files):

* WAL with `synchronous=FULL`: a commit survives a power cut, not only a crash.
* Every write is `BEGIN IMMEDIATE`, and waiting for another process's lock is our own random sleep: SQLite's handler
  is unfair and starves whole processes.
* Checkpoints run only while another connection of this process holds the write lock, because SQLite 3.7.0 to 3.51.2
  can lose committed pages when a writer resets the WAL meanwhile (https://sqlite.org/wal.html, "WAL-reset bug").
* No SQLite call of ours is under way across a fork, because the child would inherit its locked mutexes.
* The files are never opened but through SQLite: closing such a descriptor would drop the process's POSIX locks.
"""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from ..errors import OutboxError

logger: Final = logging.getLogger("remotion_licensing_integrations")

_T = TypeVar("_T")

APPLICATION_ID: Final = 0x524D_4C55  # "RMLU"

_LOCK_WAIT: Final = 5.0  # seconds
_LOCK_POLL: Final = (0.0002, 0.008)  # seconds
_MIN_FREE: Final = 1_048_576  # bytes; opening a WAL file on a full disk can kill the process with SIGBUS
_CHECKPOINT_EVERY: Final = 250  # commits of this process, about 1,000 pages
_SUFFIXES: Final = ("", "-wal", "-shm")

# One lock for all SQLite work of this process; a fork waits until it is free and gives the child a new one.
_sqlite_lock = threading.RLock()
# Connections inherited through a fork: never used, never closed, because closing would touch the parent's files.
_inherited: list[object] = []


def _renew_lock() -> None:
    global _sqlite_lock  # noqa: PLW0603 - the child's own copy of the module
    _sqlite_lock = threading.RLock()


# The lock of the moment, not bound methods: a child that forks again has another one.
os.register_at_fork(
    before=lambda: _sqlite_lock.acquire(),  # noqa: PLW0108
    after_in_parent=lambda: _sqlite_lock.release(),  # noqa: PLW0108
    after_in_child=_renew_lock,
)


class _ReplacedError(Exception):
    """
    The file at the path is not the one that was opened.
    """


class Database:
    """
    A file at *path*, created with mode 0600 and brought to the newest of *migrations*.

    Args:
        migrations: SQL scripts; the file's `user_version` says how many of them it has seen.
        salvage: Called with a connection to a damaged file that was set aside; returns what to run on the new one.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[str],
        salvage: Callable[[sqlite3.Connection], Callable[[sqlite3.Connection], object]],
    ) -> None:
        self.path = path
        self._migrations = migrations
        self._salvage = salvage
        self._pid = 0
        self._connection: sqlite3.Connection | None = None
        self._guard: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._commits = 0

    def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """
        Run *work* in one durable transaction; it may run again when the file was replaced or damaged meanwhile.

        Raises:
            OutboxError: The store refuses.
        """
        return self._persist(lambda connection: self._transact(connection, work))

    def read(self, sql: str, parameters: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        """
        Return all rows of one query; no cursor stays open, because it would keep the WAL from being reused.

        Raises:
            OutboxError: The store refuses.
        """
        return self._persist(lambda connection: connection.execute(sql, tuple(parameters)).fetchall())

    def close(self) -> None:
        """
        Close the connections of this process.
        """
        with _sqlite_lock:
            if self._pid == os.getpid():
                self._drop()

    def _persist(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        give_up = time.monotonic() + _LOCK_WAIT
        mended = False
        while True:
            try:
                with _sqlite_lock:
                    return work(self._connected())
            except _ReplacedError:
                logger.critical(
                    "The outbox file %s was deleted or replaced; it is made anew.",
                    self.path,
                    extra={"action": "outbox_replaced"},
                )
            except sqlite3.Error as error:
                if _is_damage(error) and not mended:
                    mended = True
                    self._set_aside(error)
                elif not _is_busy(error) or time.monotonic() > give_up:
                    raise self._refusal(error) from error
            # Outside the lock, so that a fork and other threads need not wait for another process.
            time.sleep(random.uniform(*_LOCK_POLL))  # noqa: S311 - no secret

    def _transact(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
        if self._stat() != self._identity:
            self._drop()
            raise _ReplacedError
        self._commits += 1
        if self._commits >= _CHECKPOINT_EVERY:
            self._checkpoint(connection)
        return result

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        self._commits = 0
        # A checkpoint that cannot run now is not worth an error: the next one does its work.
        with suppress(sqlite3.Error):
            connection.execute("BEGIN IMMEDIATE")
            try:
                if self._guard is None:
                    self._guard = _connect(self.path)
                self._guard.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            finally:
                connection.execute("ROLLBACK")

    def _connected(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            _inherited.extend((self._connection, self._guard))
            self._connection = self._guard = None
            self._pid = os.getpid()
        if self._connection is None:
            self._connection = self._opened()
        return self._connection

    def _opened(self) -> sqlite3.Connection:
        self._prepare_path()
        connection = _connect(self.path)
        try:
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        self._identity = self._stat()
        return connection

    def _prepare_path(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            free = os.statvfs(self.path.parent)
            if free.f_bavail * free.f_frsize < _MIN_FREE:
                msg = f"outbox {self.path}: the disk is full, less than 1 MB is free"
                raise OutboxError(msg)
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            msg = f"outbox {self.path}: cannot be created: {error.strerror}; check the directory and its permissions"
            raise OutboxError(msg) from error

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA auto_vacuum").fetchone() != (2,):
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # takes effect before the first table only
        connection.execute("PRAGMA journal_mode=WAL")
        if connection.execute("PRAGMA user_version").fetchone() == (len(self._migrations),):
            self._check_owner(connection)
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._check_owner(connection)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(self._migrations):
                msg = f"outbox {self.path}: schema {version} is newer than this package knows; upgrade the package"
                raise OutboxError(msg)
            for statement in ";".join(self._migrations[version:]).split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={len(self._migrations)}")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _check_owner(self, connection: sqlite3.Connection) -> None:
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if tables and owner != APPLICATION_ID:
            msg = f"outbox {self.path}: this database belongs to another application; name a file of its own"
            raise OutboxError(msg)

    def _set_aside(self, cause: sqlite3.Error) -> None:
        with _sqlite_lock:
            identity = self._identity
            self._drop()
            if identity is not None and self._stat() != identity:
                return  # another process has set it aside already
            aside = f"{self.path}.corrupt-{time.time_ns()}"
            for suffix in _SUFFIXES:
                with suppress(OSError):
                    Path(f"{self.path}{suffix}").replace(f"{aside}{suffix}")
            logger.critical(
                "The outbox file %s is damaged (%s). It was set aside as %s; what can be read is copied to a new file.",
                self.path,
                cause,
                aside,
                extra={"action": "outbox_damaged"},
            )
            with suppress(sqlite3.Error, OutboxError):
                self._copy_readable(aside)

    def _copy_readable(self, aside: str) -> None:
        damaged = sqlite3.connect(aside, isolation_level=None)
        try:
            restore = self._salvage(damaged)
        finally:
            damaged.close()
        self._transact(self._connected(), restore)

    def _drop(self) -> None:
        connections, self._connection, self._guard = (self._connection, self._guard), None, None
        for connection in connections:
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()

    def _stat(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _refusal(self, error: sqlite3.Error) -> OutboxError:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
            with _sqlite_lock:
                self._drop()  # a broken connection must not stay; one on a full disk recovers by itself
        remedy = _REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "see the log of the file system")
        return OutboxError(f"outbox {self.path}: {error}; {remedy}")


_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "free some disk space",
    sqlite3.SQLITE_READONLY: "make the file, its -wal and -shm and their directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "check that the path is a file in a writable directory",
    sqlite3.SQLITE_BUSY: "another process has kept the file locked for more than 5 s",
    sqlite3.SQLITE_IOERR: "check the disk",
}


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    for pragma in ("synchronous=FULL", "mmap_size=0", "wal_autocheckpoint=0", "journal_size_limit=4194304"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or str(error).startswith("no such table")

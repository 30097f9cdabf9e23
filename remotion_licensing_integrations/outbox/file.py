"""
One SQLite file under one discipline, safe for threads, processes and forks.

What is done here and why (measured with kill -9, simulated power cuts, full disks and damaged files):

* WAL with `synchronous=FULL`: a commit survives a power cut, not only a crash.
* Every write is `BEGIN IMMEDIATE`, and waiting for another process's lock is our own random sleep: SQLite's handler
  is unfair and starves whole processes.
* Checkpoints run only while another connection of this process holds the write lock, because SQLite 3.7.0 to 3.51.2
  can lose committed pages when a writer resets the WAL meanwhile (https://sqlite.org/wal.html, "WAL-reset bug").
* No SQLite call of ours is under way across a fork, because the child would inherit its locked mutexes; and no
  connection is open, because the child would believe it holds the parent's locks, and lose what it commits.
* Nothing is taken as read or written before the files prove to be those that were opened: commits to a deleted file
  succeed.
* Making, opening and replacing the file is for one process at a time, which holds the lock of a file beside it.
* The files are never opened but through SQLite: closing such a descriptor would drop the process's POSIX locks.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from ..errors import OutboxError

logger: Final = logging.getLogger("remotion_licensing_integrations")

_T = TypeVar("_T")

APPLICATION_ID: Final = 0x524D_4C55  # "RMLU"

_LOCK_WAIT: Final = 5.0  # seconds
_LOCK_POLL: Final = (0.0002, 0.008)  # seconds
_MIN_FREE: Final = 1_048_576  # bytes; opening a WAL file on a full disk can kill the process with SIGBUS
#: Bytes. A WAL that starts anew is cut to this length, so one that is longer has not done so for as many bytes.
_WAL_LIMIT: Final = 4_194_304
_SIDECARS: Final = ("-wal", "-shm")

# One lock for all SQLite work of this process; a fork waits until it is free and gives the child a new one.
_sqlite_lock = threading.RLock()
_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _close_all() -> None:
    _sqlite_lock.acquire()
    for database in _databases:
        database.close()


def _renew_lock() -> None:
    global _sqlite_lock  # noqa: PLW0603 - the child's own copy of the module
    _sqlite_lock = threading.RLock()


os.register_at_fork(
    before=_close_all,
    after_in_parent=lambda: _sqlite_lock.release(),  # noqa: PLW0108 - a child that forks again has another lock
    after_in_child=_renew_lock,
)


class _ReplacedError(Exception):
    """
    The files at the path are not those that were opened.
    """


class Database:
    """
    A file at *path*, created with mode 0600 and brought to the newest of *migrations*.

    Args:
        migrations: SQL scripts; the file's `user_version` says how many of them it has seen.
        salvage: Copies what can be read from a damaged file, the first connection, to a new one, the second; returns
            how many rows.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[str],
        salvage: Callable[[sqlite3.Connection, sqlite3.Connection], int],
    ) -> None:
        self.path = path
        self._migrations = migrations
        self._salvage = salvage
        self._file = self._wal = path
        self._connection: sqlite3.Connection | None = None
        self._guard: sqlite3.Connection | None = None
        self._opened_files: tuple[object, object] = (None, None)
        self._damage: tuple[object, sqlite3.Error] | None = None
        self._checkpoint_at = _WAL_LIMIT
        with _sqlite_lock:
            _databases.add(self)

    def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """
        Run *work* in one durable transaction; it may run again when the file was replaced or damaged meanwhile.

        It must not return a cursor: SQLite keeps a closed connection open until its last cursor is gone.

        Raises:
            OutboxError: The store refuses.
        """
        return self._persist(lambda connection: self._write(connection, work))

    def read(self, sql: str, parameters: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        """
        Return all rows of one query; no cursor stays open, because it would keep the WAL from being reused.

        Raises:
            OutboxError: The store refuses.
        """
        return self._persist(lambda connection: self._read(connection, sql, tuple(parameters)))

    def close(self) -> None:
        """
        Close the connections of this process.
        """
        with _sqlite_lock:
            connections, self._connection, self._guard = (self._connection, self._guard), None, None
            for connection in connections:
                if connection is not None:
                    with suppress(sqlite3.Error):
                        connection.close()

    def _persist(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        give_up = time.monotonic() + _LOCK_WAIT
        mended = False
        while True:
            try:
                with _sqlite_lock:
                    return work(self._connected())
            except (_ReplacedError, BlockingIOError) as error:
                if time.monotonic() > give_up:
                    msg = f"outbox {self.path}: other processes have kept it locked or replaced it for more than 5 s"
                    raise OutboxError(msg) from error
            except OSError as error:
                msg = f"outbox {self.path}: cannot be made: {error.strerror}; check the directory and its permissions"
                raise OutboxError(msg) from error
            except sqlite3.Error as error:
                if _is_damage(error) and not mended:
                    mended = True
                    self._damaged(error)
                elif not _is_busy(error) or time.monotonic() > give_up:
                    raise self._refusal(error) from error
            # Outside the lock, so that a fork and other threads need not wait for another process.
            time.sleep(random.uniform(*_LOCK_POLL))  # noqa: S311 - no secret

    def _read(self, connection: sqlite3.Connection, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        rows = connection.execute(sql, parameters).fetchall()
        self._check_files()
        return rows

    def _write(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
        result = _transact(connection, work)
        wal_length = self._check_files()
        if wal_length <= _WAL_LIMIT:
            self._checkpoint_at = _WAL_LIMIT
        elif wal_length > self._checkpoint_at:
            self._checkpoint(connection)
            # A reader may keep the WAL from starting anew: then it is not worth a try at each commit.
            self._checkpoint_at = wal_length + _WAL_LIMIT // 4
        return result

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        # A checkpoint that cannot run now is not worth an error: the next one does its work.
        with suppress(sqlite3.Error):
            if self._guard is None:
                self._guard = _connect(self._file)
            guard = self._guard
            _transact(connection, lambda _: guard.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._opened()
        return self._connection

    def _check_files(self) -> int:
        """
        Return the length of the WAL in bytes.

        Raises:
            _ReplacedError: A file was deleted or replaced; the connections are closed.
        """
        file, wal = _status(self.path), _status(self._wal)
        if wal is None or (_inode(file), _inode(wal)) != self._opened_files:
            self._leave_files()
            raise _ReplacedError
        return wal.st_size

    def _leave_files(self) -> None:
        with suppress(FileNotFoundError), self._alone():
            # SQLite would apply the WAL of the old file to the new one. Another process may have made a new WAL.
            if _inode(_status(self._wal)) in (None, self._opened_files[1]):
                self._delete_sidecars()
        self.close()
        logger.critical(
            "The outbox file %s was deleted or replaced; it is opened anew.",
            self.path,
            extra={"action": "outbox_replaced"},
        )

    def _opened(self) -> sqlite3.Connection:
        # SQLite, too, follows links before it names the files beside it.
        self._file = Path(os.path.realpath(self.path))
        self._wal = self._beside("-wal")
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = os.statvfs(self._file.parent)
        if free.f_bavail * free.f_frsize < _MIN_FREE:
            msg = f"outbox {self.path}: the disk is full, less than 1 MB is free"
            raise OutboxError(msg)
        with self._alone():
            return self._opened_alone()

    def _opened_alone(self) -> sqlite3.Connection:
        aside = self._set_aside()
        if not self._file.exists():
            # What is left of a deleted file: other processes may be at work on it, and must not be on the new one.
            self._delete_sidecars()
            os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._opened_files = _inode(_status(self.path)), None
        connection = _connect(self._file)
        try:
            self._migrate(connection)
            if aside is not None:
                self._restore(aside, connection)
        except BaseException:
            connection.close()
            raise
        self._opened_files = _inode(_status(self.path)), _inode(_status(self._wal))
        return connection

    def _delete_sidecars(self) -> None:
        for suffix in _SIDECARS:
            self._beside(suffix).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Generator[None]:
        lock = os.open(self._beside("-lock"), os.O_CREAT | os.O_RDONLY, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(lock)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        # Before anything is changed: the file may be another application's.
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if tables and owner != APPLICATION_ID:
            msg = f"outbox {self.path}: this database belongs to another application; name a file of its own"
            raise OutboxError(msg)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(self._migrations):
            msg = f"outbox {self.path}: schema {version} is newer than this package knows; upgrade the package"
            raise OutboxError(msg)
        if connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
            msg = f"outbox {self.path}: SQLite cannot share memory there; name a file on a local disk"
            raise OutboxError(msg)
        if version < len(self._migrations):
            _transact(connection, lambda _: self._run_migrations(connection, version))

    def _run_migrations(self, connection: sqlite3.Connection, version: int) -> None:
        for statement in ";".join(self._migrations[version:]).split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(self._migrations)}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")

    def _damaged(self, error: sqlite3.Error) -> None:
        with _sqlite_lock:
            self.close()
            self._damage = self._opened_files[0], error

    def _set_aside(self) -> Path | None:
        damage, self._damage = self._damage, None
        if damage is None or _inode(_status(self.path)) != damage[0]:
            return None  # another process may have done it already
        aside = self._beside(f".corrupt-{time.time_ns()}")
        for suffix in (*_SIDECARS, ""):
            with suppress(FileNotFoundError):
                self._beside(suffix).replace(f"{aside}{suffix}")
        logger.critical(
            "The outbox file %s is damaged (%s). It was set aside as %s.",
            self.path,
            damage[1],
            aside,
            extra={"action": "outbox_damaged"},
        )
        return aside

    def _restore(self, aside: Path, connection: sqlite3.Connection) -> None:
        rows: object = "no"
        with suppress(sqlite3.Error), closing(sqlite3.connect(aside, isolation_level=None)) as damaged:
            damaged.text_factory = _text
            damaged.execute("PRAGMA writable_schema=ON")  # else a file that was cut short is refused as a whole
            rows = _transact(connection, lambda _: self._salvage(damaged, connection))
        logger.critical(
            "%s usage points could be copied from %s to the new outbox file.",
            rows,
            aside,
            extra={"action": "outbox_restored"},
        )

    def _beside(self, suffix: str) -> Path:
        return Path(f"{self._file}{suffix}")

    def _refusal(self, error: sqlite3.Error) -> OutboxError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}:
            self.close()  # a broken connection must not stay; one on a full disk recovers by itself
        return OutboxError(f"outbox {self.path}: {error}; {_REMEDIES.get(code, 'see the log of the file system')}")


_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "free some disk space",
    sqlite3.SQLITE_READONLY: "make the file, its -wal and -shm and their directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "check that the path is a file in a writable directory",
    sqlite3.SQLITE_BUSY: "another process has kept the file locked for more than 5 s",
    sqlite3.SQLITE_IOERR: "check the disk",
}


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    # A damaged text must not make the other rows unreadable.
    connection.text_factory = _text
    try:
        for pragma in ("synchronous=FULL", "mmap_size=0", "wal_autocheckpoint=0", f"journal_size_limit={_WAL_LIMIT}"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _transact(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
    return result


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _inode(status: os.stat_result | None) -> object:
    return None if status is None else (status.st_dev, status.st_ino)


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or str(error).startswith("no such table")

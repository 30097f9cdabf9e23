"""
An outbox in one SQLite file, under a discipline that is safe for threads, processes and forks.

The file must be on a local disk: WAL needs memory shared by its users. The licence key is never stored. The rules and
their reasons (tests/outbox/test_file_faults.py kills, fills, damages, replaces and locks the file):

* WAL with `synchronous=FULL`, on macOS also `fullfsync`: a commit survives a power cut, not only a crash.
* Every write is one statement or begins with `BEGIN IMMEDIATE`, and we wait for another process's lock by a random
  sleep: SQLite's busy handler is unfair and starves whole processes.
* Checkpoints run only while another connection of this process holds the write lock, because SQLite 3.7.0 to 3.51.2
  can lose committed pages when a writer resets the WAL at the same time (https://sqlite.org/wal.html, "WAL-reset bug").
* No SQLite call of ours is under way during a fork, because the child would inherit its locked mutexes; and no
  connection is open, because the child would believe that it holds the parent's locks, and lose its commits.
* A read or write counts only when the files are still those that were opened: commits to a deleted file succeed.
* One process at a time creates, opens or replaces the file; it holds the lock of a file beside it.
* Only SQLite opens the files: closing another descriptor of them would drop the process's POSIX locks.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final

from .._support.forks import ForkLock
from .._support.log import logger
from ..errors import ConfigurationError, OutboxError
from .connection import Row, Session, T, Values
from .damage import SIDECARS, put_back, refuse_stranger, restore, set_aside
from .locks import is_passing, lock_file
from .place import examine_place, prepare_place
from .scanning import ScannedFile
from .sql import SQLOutbox
from .sqlite import (
    REMEDIES,
    WAL_LIMIT,
    SQLiteSession,
    connect,
    error_code,
    is_busy,
    is_damage,
    migrate,
    transact,
)
from .status import file_at, status_of
from .values import Finding

_LOCK_WAIT: Final = 5.0  # seconds
_LOCK_POLL: Final = (0.0002, 0.008)  # seconds

#: By their ids. It is read and written in one step each, without the lock: whoever creates a recorder has another lock,
#: and a fork takes the two in the opposite order (test_recorder_life.py::test_fork_while_a_recorder_is_created).
_files: Final[weakref.WeakValueDictionary[int, File]] = weakref.WeakValueDictionary()


def _close_all() -> None:
    for file in filter(None, [reference() for reference in _files.valuerefs()]):
        file.close()


# One lock for all SQLite work of this process; a fork waits until it is free and gives the child a new one.
_sqlite_lock: Final = ForkLock(_close_all)


class _ReplacedError(Exception):
    """
    The files at the path are not those that were opened.
    """


class SQLiteOutbox(SQLOutbox):
    """
    Points in the file at *path*, created with mode 0600.

    Args:
        path: A file for the outbox alone, on a local disk.
        clock: The current time in epoch seconds.
        takes_newer: Whether a file of a newer version is used as it is; else it is refused.

    Raises:
        ConfigurationError: *path* cannot name a durable file.
    """

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time, takes_newer: bool = False) -> None:
        # SQLite would take an empty name as "a private temporary database": not durable, and silently so.
        if not str(path) or str(path).startswith(":") or "\0" in str(path):
            msg = f"outbox: {str(path)!r} is not the path of a file"
            raise ConfigurationError(msg)
        self._file = File(Path(path).absolute(), takes_newer=takes_newer)
        super().__init__(self._file, clock)

    def __repr__(self) -> str:
        return f"SQLiteOutbox({self.path.as_posix()!r})"

    @property
    def path(self) -> Path:
        """
        The file, absolute.
        """
        return self._file.path

    def examine(self) -> Iterable[Finding]:
        return examine_place(self.path)


class File(ScannedFile):
    """
    The connections of this process to the file at *path*.
    """

    def __init__(self, path: Path, *, takes_newer: bool) -> None:
        self.path = path
        self._takes_newer = takes_newer
        self._file = self._wal = path
        self._connection: sqlite3.Connection | None = None
        self._guard: sqlite3.Connection | None = None
        self._opened_files: tuple[object, object] = (None, None)
        self._damage: tuple[object, str] | None = None
        self._checkpoint_at = WAL_LIMIT
        _files[id(self)] = self

    def __del__(self) -> None:
        self.close()  # Python would do so without the lock, and warn of it from 3.13 on

    def exists(self) -> bool:
        try:
            self.path.stat()
        except OSError as error:
            return not isinstance(error, FileNotFoundError)  # for other errors, opening the file says what is wrong
        return True

    def rows(self, sql: str, values: Values) -> list[Row]:
        return self._persist(lambda connection: self._read(connection, sql, values))

    def change(self, sql: str, values: Values) -> int:
        # One statement is a transaction by itself, without a trip to SQLite for its begin and one for its end.
        return self._persist(
            lambda connection: self._write(connection, lambda: SQLiteSession(connection.cursor()).change(sql, values))
        )

    def transact(self, work: Callable[[Session], T]) -> T:
        return self._persist(lambda connection: self._write(connection, lambda: transact(connection, work)))

    def close(self) -> None:
        with _sqlite_lock:
            connections, self._connection, self._guard = (self._connection, self._guard), None, None
            for connection in filter(None, connections):
                with suppress(sqlite3.Error):
                    connection.close()

    def _persist(self, work: Callable[[sqlite3.Connection], T]) -> T:
        give_up = time.monotonic() + _LOCK_WAIT
        repaired = False
        while True:
            try:
                with _sqlite_lock:
                    self._connection = self._connection or self._opened()
                    return work(self._connection)
            except (_ReplacedError, OSError) as error:
                if isinstance(error, OSError) and not is_passing(error):
                    msg = f"outbox {self.path}: cannot be created: {error.strerror}; check the directory's permissions"
                    raise OutboxError(msg) from error
                if time.monotonic() > give_up:
                    msg = f"outbox {self.path}: other processes have kept it locked or replaced it for more than 5 s"
                    raise OutboxError(msg) from error
            except sqlite3.Error as error:
                if is_damage(error) and not repaired:
                    repaired = True
                    with _sqlite_lock:
                        self.close()
                        # Not the error: what it refers to would keep the file open, and on Windows in its place.
                        self._damage = self._opened_files[0], str(error)
                elif not is_busy(error) or time.monotonic() > give_up:
                    raise self._refusal(error) from error
            # Outside the lock, so that a fork and other threads need not wait for another process.
            time.sleep(random.uniform(*_LOCK_POLL))  # noqa: S311 - no secret

    def _read(self, connection: sqlite3.Connection, sql: str, values: Values) -> list[Row]:
        rows = SQLiteSession(connection.cursor()).rows(sql, values)
        self._check_files()
        return rows

    def _write(self, connection: sqlite3.Connection, commit: Callable[[], T]) -> T:
        result = commit()
        wal_length = self._check_files()
        if wal_length <= WAL_LIMIT:
            self._checkpoint_at = WAL_LIMIT
        elif wal_length > self._checkpoint_at:
            self._checkpoint(connection)
            # A reader may keep the WAL from starting anew; then a try at each commit is wasted.
            self._checkpoint_at = wal_length + WAL_LIMIT // 4
        return result

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        # A checkpoint that cannot run now is not worth an error: the next one does its work.
        with suppress(sqlite3.Error):
            if self._guard is None:
                self._guard = connect(self._file)
            guard = self._guard
            transact(connection, lambda _: guard.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())

    def _check_files(self) -> int:
        """
        Return the length of the WAL in bytes.

        Raises:
            _ReplacedError: A file was deleted or replaced; the connections are closed.
        """
        file, wal = status_of(self.path), status_of(self._wal)
        if file is None or wal is None or (file.file, wal.file) != self._opened_files:
            self._leave_files()
            raise _ReplacedError
        return wal.length

    def _leave_files(self) -> None:
        with suppress(FileNotFoundError), self._alone():
            # SQLite would apply the WAL of the old file to the new one. Another process may have created a new WAL.
            if file_at(self._wal) in (None, self._opened_files[1]):
                self._delete_sidecars()
        self.close()
        logger.critical(
            "The outbox file %s was deleted or replaced; a new file is opened.",
            self.path,
            extra={"action": "outbox_replaced"},
        )

    def _opened(self) -> sqlite3.Connection:
        # SQLite, too, follows links before it names the files beside it.
        self._file = Path(os.path.realpath(self.path))
        self._wal = self._beside("-wal")
        prepare_place(self._file)
        if not self._beside("-lock").exists():
            refuse_stranger(self._file)
        with self._alone():
            return self._opened_alone()

    def _opened_alone(self) -> sqlite3.Connection:
        put_back(self._file)
        # Another process may have set it aside already.
        if self._damage is not None and file_at(self.path) == self._damage[0]:
            set_aside(self._file, self._damage[1])
        self._damage = None
        if not self._file.exists():
            # Leftovers of a deleted file. Another process may still use them; it must not use the new file.
            self._delete_sidecars()
            os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._opened_files = file_at(self.path), None
        connection = connect(self._file)
        try:
            migrate(connection, self.path, takes_newer=self._takes_newer)
            restore(self._file, connection)
        except BaseException:
            connection.close()
            raise
        self._opened_files = file_at(self.path), file_at(self._wal)
        return connection

    def _delete_sidecars(self) -> None:
        for suffix in SIDECARS:
            self._beside(suffix).unlink(missing_ok=True)

    def _alone(self) -> AbstractContextManager[None]:
        return lock_file(self._beside("-lock"))

    def _beside(self, suffix: str) -> Path:
        return Path(f"{self._file}{suffix}")

    def _refusal(self, error: sqlite3.Error) -> OutboxError:
        code = error_code(error)
        if code not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}:
            self.close()  # a broken connection must not stay; on a full disk it recovers by itself
        return OutboxError(f"outbox {self.path}: {error}; {REMEDIES.get(code, 'see the log of the file system')}")

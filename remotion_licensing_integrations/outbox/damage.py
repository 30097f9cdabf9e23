"""
Sets a damaged SQLite file aside, and copies its readable points into a new file.

The fault: bit rot, a disk that lied, a file cut short (tests/outbox/test_file_faults.py::test_damaged_file). A process
that is killed meanwhile leaves the rest to the next one (…::test_killed_while_a_damaged_file_is_replaced): until its
points are copied, a damaged file is named `.corrupt`, and afterwards `.corrupt-<time>`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from .._support.log import logger
from ..errors import OutboxError
from .connection import Row
from .rows import POINT, PROGRESS
from .sqlite import error_code, is_busy, to_text, transact
from .totals import TOTAL

SIDECARS: Final = ("-wal", "-shm")

_MAGIC: Final = b"SQLite format 3\0"  # https://sqlite.org/fileformat.html, "The Database Header"
_MAX_MISSES: Final = 20_000  # rows in a row that cannot be read, after which a damaged file holds no more


def refuse_stranger(file: Path) -> None:
    """
    Refuse a *file* that no outbox has opened before and that is no database: a wrong path must not move it away.

    Raises:
        OutboxError: It is such a file.
    """
    if not file.is_file():
        return
    with file.open("rb") as opened:
        if opened.read(len(_MAGIC)) not in (_MAGIC, b""):
            msg = f"outbox {file}: there is another file, which is no SQLite database; name another path"
            raise OutboxError(msg)


def set_aside(file: Path, damage: str) -> None:
    """
    Rename the damaged *file* and those beside it, for `restore`.
    """
    aside = _aside(file)
    if aside.exists():
        # What has not been restored stays there: the new file, damaged in its turn, has no points before that.
        aside = _for_good(aside)
    _move(file, aside)
    logger.critical(
        "The outbox file %s is damaged (%s). It was set aside as %s.",
        file,
        damage,
        aside,
        extra={"action": "outbox_damaged"},
    )


def put_back(file: Path) -> None:
    """
    Undo what is left of a `set_aside` that a kill has broken off: *file* needs its WAL.
    """
    aside = _aside(file)
    if not aside.exists():
        _move(aside, file)


def restore(file: Path, connection: sqlite3.Connection) -> None:
    """
    Copy the readable usage points and daily totals of what was set aside over *connection*, in one transaction.

    Raises:
        sqlite3.Error: The disk is full, or another process writes to the new file; nothing was copied.
    """
    aside, copied = _aside(file), "No usage points"
    if not aside.exists():
        return
    try:
        with closing(sqlite3.connect(aside, isolation_level=None)) as damaged:
            damaged.text_factory = to_text
            damaged.execute("PRAGMA writable_schema=ON")  # otherwise SQLite refuses a file that was cut short
            count = transact(connection, lambda _: _copy(damaged, connection))
            copied = f"{count} usage points"
    except sqlite3.Error as error:
        # What passes must not end the copy.
        if error_code(error) == sqlite3.SQLITE_FULL or is_busy(error):
            raise
    kept = _for_good(aside)
    _move(aside, kept)
    logger.critical(
        "%s could be copied from %s to the new outbox file.",
        copied,
        kept,
        extra={"action": "outbox_restored"},
    )


def _aside(file: Path) -> Path:
    return Path(f"{file}.corrupt")


def _for_good(aside: Path) -> Path:
    return Path(f"{aside}-{time.time_ns()}")


def _move(file: Path, to: Path) -> None:
    # The file last: as long as it is there, it is not done.
    for suffix in (*SIDECARS, ""):
        source = Path(f"{file}{suffix}")
        if source.exists():  # Windows might look at the other file first, which may be open
            with suppress(FileNotFoundError):
                source.replace(f"{to}{suffix}")


def _copy(damaged: sqlite3.Connection, connection: sqlite3.Connection) -> int:
    def copy(table: str, *columns: str) -> int:
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"
        return connection.executemany(insert, _readable(damaged, table, ", ".join(columns))).rowcount

    count = copy("remotion_usage_point", *POINT, *PROGRESS)
    with suppress(sqlite3.Error):
        copy("remotion_daily_total", *TOTAL)
    return count


def _readable(damaged: sqlite3.Connection, table: str, columns: str) -> Iterable[Row]:
    # Row by row, because a scan stops at the first damaged page and a look-up only misses the rows on it.
    damaged.execute(f"SELECT 1 FROM {table} LIMIT 0")  # without a schema there is nothing to look up
    row_id = missed = 0
    while missed < _MAX_MISSES:
        try:
            row = damaged.execute(
                f"SELECT rowid, {columns} FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT 1", (row_id,)
            ).fetchone()
        except sqlite3.Error:
            row_id, missed = row_id + 1, missed + 1
            continue
        if row is None:
            return
        row_id, missed = row[0] + 1, 0
        yield row[1:]

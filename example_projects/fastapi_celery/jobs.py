"""
The jobs, in one SQLite file that the app and its workers share; knows nothing of Celery or licensing.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

PLACE = Path(os.environ.get("PLACE", Path(__file__).parent / "data"))  # the file, originals and results

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',  -- then running, then done or failed
    tries INTEGER NOT NULL DEFAULT 0,
    error TEXT
)
"""


def add(job: str, name: str) -> None:
    """
    Keep a job that no worker has begun yet.
    """
    _execute("INSERT INTO jobs (id, name) VALUES (?, ?)", job, name)


def begin(job: str) -> int:
    """
    Note that a worker begins, and return the number of this try; the first is 1.
    """
    [[tries]] = _execute(
        "UPDATE jobs SET state = 'running', error = NULL, tries = tries + 1 WHERE id = ? RETURNING tries", job
    )
    return int(tries)


def end(job: str, error: str | None = None) -> None:
    """
    Note that it is over, with an *error* for the person who waits.
    """
    _execute("UPDATE jobs SET state = ?, error = ? WHERE id = ?", "failed" if error else "done", error, job)


def latest(limit: int = 20) -> list[dict[str, Any]]:
    """
    Return the latest jobs, newest first.
    """
    rows = _execute("SELECT id, name, state, tries, error FROM jobs ORDER BY number DESC LIMIT ?", limit)
    return [dict(row) for row in rows]


def original(job: str) -> Path:
    """
    Where the video to convert is.
    """
    return PLACE / f"{job}.original"


def result(job: str) -> Path:
    """
    Where the converted video is once the job is done.
    """
    return PLACE / f"{job}.webm"


def _execute(statement: str, *values: str | float | None) -> list[sqlite3.Row]:
    # Processes take turns: each waits for the others, at most so many seconds.
    with closing(sqlite3.connect(PLACE / "jobs.sqlite3", timeout=20, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute(SCHEMA)
        return connection.execute(statement, values).fetchall()

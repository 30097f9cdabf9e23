"""
The SQLite store: its file, its settings, its schema, and its many users.
"""

from __future__ import annotations

import gc
import logging
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from remotion_licensing_integrations.errors import ConfigurationError, OutboxError
from remotion_licensing_integrations.outbox import SQLiteOutbox, file
from remotion_licensing_integrations.outbox.sqlite import WAL_LIMIT
from remotion_licensing_integrations.outbox.statements import MIGRATIONS
from tests._systems import make_link, needs_forks, needs_modes
from tests.outbox import _programs
from tests.outbox._values import claim, keys, point, points, spoil

NEWEST = len(MIGRATIONS["sqlite"])
LIMIT = 2 * WAL_LIMIT  # bytes; a WAL without readers is never longer


@pytest.fixture
def path(place):
    return place / "outbox.sqlite3"


@pytest.fixture
def outbox(path, clock):
    outbox = SQLiteOutbox(path, clock=clock)
    yield outbox
    outbox.close()


@pytest.fixture
def connections(monkeypatch):
    """
    Collect the connections that are opened.
    """
    opened = []
    connect = file.connect

    def connect_and_note(path):
        opened.append(connect(path))
        return opened[-1]

    monkeypatch.setattr(file, "connect", connect_and_note)
    return opened


def edit(path, *statements):
    """
    Change a file behind the outbox.
    """
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
    connection.commit()
    connection.close()


def grow_wal(outbox, prefix="batch"):
    """
    Add 20,000 points, more than makes a checkpoint due.
    """
    for number in range(200):
        outbox.add(points(100, f"{prefix}-{number}"))


def wal_length(path):
    return path.with_name(f"{path.name}-wal").stat().st_size


@needs_modes
def test_files_are_private(outbox, path):
    """
    Only the owner can read any of the files.
    """
    outbox.add([point()])

    assert {stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()} == {0o600}


@needs_modes
def test_missing_directories_are_made_private(place):
    """
    A directory that is made for the file is the owner's alone.
    """
    outbox = SQLiteOutbox(place / "new" / "outbox.sqlite3")
    outbox.open()
    outbox.close()

    assert stat.S_IMODE((place / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b"])
def test_no_file(path):
    """
    What is not the path of a durable file is refused at once.
    """
    with pytest.raises(ConfigurationError, match="is not the path of a file"):
        SQLiteOutbox(path)


def test_every_connection_is_set_up(connections, outbox):
    """
    Whichever connection it is: durable commits, no mapped memory, no checkpoint by itself.
    """
    grow_wal(outbox)
    expected = {"journal_mode": "wal", "synchronous": 2, "fullfsync": 1, "mmap_size": 0, "wal_autocheckpoint": 0}
    found = [{name: one.execute(f"PRAGMA {name}").fetchone()[0] for name in expected} for one in connections]

    assert [expected] * 2 == found


def test_checkpoints_are_guarded(connections, outbox):
    """
    A checkpoint runs on a second connection, while the first one keeps writers away.
    """
    guarded = []

    def note(statement):
        if "wal_checkpoint" in statement:
            guarded.append(connections[0].in_transaction)

    outbox.open()
    outbox._file._guard = file.connect(outbox.path)
    connections[1].set_trace_callback(note)
    grow_wal(outbox)

    assert guarded
    assert all(guarded)


def test_wal_stays_short(outbox, path):
    """
    20,000 points leave a WAL of a few megabytes.
    """
    longest = 0
    for number in range(200):
        outbox.add(points(100, f"batch-{number}"))
        longest = max(longest, wal_length(path))

    assert longest < LIMIT


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs a /proc that lists open files, as Linux has")
def test_dropped_outbox(path):
    """
    An outbox that is dropped without being closed leaves no file open.
    """
    SQLiteOutbox(path).add([point()])
    gc.collect()

    assert not [file for file in Path("/proc/self/fd").iterdir() if str(path) in os.path.realpath(file)]


def test_forgotten_reader(outbox, path):
    """
    A reader that never ends makes the WAL grow, but stops nobody; after it the WAL is short again.
    """
    outbox.add(points(3))
    reader = sqlite3.connect(path)
    cursor = reader.execute("SELECT * FROM remotion_usage_point")
    cursor.fetchone()
    grow_wal(outbox)
    grown = wal_length(path)
    cursor.close()
    reader.close()
    grow_wal(outbox, "later")

    assert grown > LIMIT
    assert wal_length(path) < LIMIT
    assert outbox.counts().pending == 40_003


def test_no_room_for_the_licence_key(outbox, path):
    """
    The file has no field that a licence key could be in.
    """
    outbox.open()
    with sqlite3.connect(path) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(remotion_usage_point)")}
    connection.close()

    assert columns == {
        *("id", "idempotency_key", "event", "host", "succeeded", "is_still", "is_production", "occurred_at"),
        *("state", "due", "attempts", "token", "unanswered_since", "last_error", "billable", "classification"),
        *("label", "key_fingerprint"),
    }


def test_file_of_another_application(outbox, path):
    """
    Somebody else's database is refused, and not one byte of it changes.
    """
    edit(path, "CREATE TABLE theirs (x)", "PRAGMA user_version=1")
    before = path.read_bytes()

    with pytest.raises(OutboxError, match="belongs to another application"):
        outbox.add([point()])
    assert path.read_bytes() == before


def test_no_wal(monkeypatch, outbox):
    """
    Where SQLite cannot keep a WAL, the file is refused.
    """
    monkeypatch.setattr(file, "connect", lambda _: sqlite3.connect(":memory:"))

    with pytest.raises(OutboxError, match="use a file on a local disk"):
        outbox.open()


def test_newer_schema(outbox, path):
    """
    A file of a newer version of the package is refused, and kept.
    """
    outbox.add([point()])
    outbox.close()
    edit(path, "PRAGMA user_version=99")

    with pytest.raises(OutboxError, match="schema 99 is newer than this package knows; upgrade the package"):
        outbox.counts()
    edit(path, f"PRAGMA user_version={len(MIGRATIONS['sqlite'])}")
    assert outbox.counts().pending == 1


def test_older_schema(monkeypatch, outbox, path):
    """
    A file of an older version is brought up to date, with its points.
    """
    outbox.add([point()])
    outbox.close()
    scripts = (
        "ALTER TABLE remotion_usage_point ADD COLUMN colour TEXT",
        "CREATE INDEX by_colour ON remotion_usage_point (colour)",
    )
    monkeypatch.setitem(MIGRATIONS, "sqlite", (*MIGRATIONS["sqlite"], scripts))
    newer = SQLiteOutbox(path)

    assert keys(newer.list()) == ["key"]
    assert newer._file.rows("PRAGMA user_version", {}) == [(NEWEST + 1,)]
    assert newer._file.rows("SELECT colour FROM remotion_usage_point", {}) == [(None,)]
    newer.close()


def test_failed_migration(monkeypatch, path):
    """
    A migration that fails leaves the file as it was.
    """
    monkeypatch.setitem(MIGRATIONS, "sqlite", (("CREATE TABLE remotion_usage_point (x)", "SELECT nonsense"),))
    outbox = SQLiteOutbox(path)

    with pytest.raises(OutboxError, match="nonsense"):
        outbox.open()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


#: What makes a row unreadable: a column and a value.
UNREADABLE = [
    ("event", "'render-of-tomorrow'"),
    ("event", "CAST(x'fffe' AS TEXT)"),
    ("host", "CAST(x'61ff62' AS TEXT)"),
    ("host", f"'{'x' * 1_000_000}'"),
    ("host", "x'00'"),
    ("occurred_at", "'yesterday'"),
    ("occurred_at", "9e300"),
    ("idempotency_key", "'é'"),
    ("unanswered_since", "'never'"),
]


@pytest.mark.parametrize(("column", "value"), UNREADABLE)
def test_damaged_column(outbox, column, value):
    """
    Whatever a column holds, a row that is no usage point does not stop the others, and stays visible as rejected.
    """
    outbox.add(points(3))
    spoil(outbox, "key-1", column, value)

    assert keys(claim(outbox)) == ["key-0", "key-2"]
    assert (outbox.counts().pending, outbox.counts().rejected) == (2, 1)
    columns = "SELECT last_error, token FROM remotion_usage_point WHERE id = 2"
    [(error, token)] = outbox._file.rows(columns, {})
    assert error.startswith("cannot be read: ")
    assert token is None


def test_link_to_the_file(outbox, path):
    """
    A symbolic link names the file it leads to, for those who know the file by its own name, too.
    """
    link = path.with_name("link.sqlite3")
    make_link(link, path)
    linked = SQLiteOutbox(link)
    outbox.add([point("one")])
    linked.add([point("two")])
    outbox.add([point("three")])
    linked.close()

    assert keys(outbox.list()) == ["three", "two", "one"]


def test_link_in_the_place_of_the_lock(outbox, path):
    """
    A link that another user has put beside the file creates nothing elsewhere.
    """
    elsewhere = path.with_name("elsewhere")
    make_link(Path(f"{path}-lock"), elsewhere)

    with pytest.raises(OutboxError, match="cannot be created: Too many levels of symbolic links"):
        outbox.add([point()])
    assert not elsewhere.exists()


def test_two_objects_of_one_process(outbox, path, caplog):
    """
    Two outboxes of one file in one process see each other, and one may close.
    """
    other = SQLiteOutbox(path)
    other.add([point("one")])
    outbox.add([point("two")])
    other.close()
    outbox.add([point("three")])

    assert keys(outbox.list()) == ["three", "two", "one"]
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@needs_forks
def test_first_open_by_many(place):
    """
    Eight processes that open a new file at the same moment all succeed.
    """
    places = [place / f"{number}.sqlite3" for number in range(15)]

    assert _programs.run("open_at_once", 8, *places) == [0]


@needs_forks
def test_many_writers_and_a_claimer(path):
    """
    What eight processes add, a ninth claims: every point, and each once.
    """
    taken, failed = _programs.run("add_and_claim", path, 8, 50)

    assert failed == 0
    assert sorted(taken) == sorted(f"{writer}-{index}" for writer in range(8) for index in range(50))


@needs_forks
def test_forks_while_a_thread_writes(outbox, path):
    """
    A hundred forks in the midst of writing: no child hangs or fails, and nothing is lost.
    """
    failed, acknowledged = _programs.run("fork_while_writing", path, 100)

    assert failed == 0
    assert {f"child-{number}" for number in range(100)} | set(acknowledged) == set(keys(outbox.list(limit=1_000_000)))


@needs_forks
def test_child_outlives_its_parent(path):
    """
    What a child commits after its parent has closed the outbox is there.
    """
    assert _programs.run("outlive_the_parent", path) == [[0, 22]]

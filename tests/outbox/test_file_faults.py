"""
The SQLite store when things go wrong: what was acknowledged is still there, or the error says what to mend.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import SQLiteOutbox, damage, status
from remotion_licensing_integrations.outbox import file as module
from tests._systems import needs_forks, needs_open_files_replaced, needs_signals
from tests.outbox import _programs
from tests.outbox._values import REGISTRATION, claim, keys, point, points

NOBODY = 65534
needs_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: None)() != 0, reason="needs root, to become another user"
)
PAGE = 4096  # bytes
EMPTY = 5 * PAGE  # bytes at the beginning of a file that have no points in them


@pytest.fixture
def path(place):
    return place / "outbox.sqlite3"


@pytest.fixture
def outbox(path):
    outbox = SQLiteOutbox(path)
    yield outbox
    outbox.close()


def stored(outbox):
    return set(keys(outbox.list(limit=1_000_000)))


def actions(caplog):
    return [record.action for record in caplog.records]


def tell(process, number):
    process.stdin.write(f"{number}\n")
    process.stdin.flush()
    return set(json.loads(process.stdout.readline()))


@needs_forks
def test_killed_writers_lose_nothing(path):
    """
    Row 2: whatever four writers had acknowledged when they were killed is in the file, which is whole.
    """
    assert _programs.run("kill_writers", path, 40) == [["ok", []]]


@needs_forks
def test_control_of_the_killed_writers(path):
    """
    The same test finds losses when writers acknowledge before they commit.
    """
    [[_, lost]] = _programs.run("kill_writers_that_acknowledge_early", path, 20)

    assert lost


def test_full_disk(outbox):
    """
    Row 21: a full disk is an error that says so; nothing is lost, and with space all goes on.
    """
    outbox.add([point("before")])
    connection = outbox._file._connection
    [(pages,)] = connection.execute("PRAGMA page_count")
    connection.execute(f"PRAGMA max_page_count={pages + 4}").fetchall()
    with pytest.raises(OutboxError, match="full; free some disk space"):
        outbox.add(points(1000, "too-many"))
    assert stored(outbox) == {"before"}

    connection.execute("PRAGMA max_page_count=1000000").fetchall()
    outbox.add(points(1000, "enough"))
    assert len(stored(outbox)) == 1001
    assert outbox._file._connection is connection


def test_full_disk_at_the_first_open(monkeypatch, outbox, place):
    """
    Row 22: without a megabyte of free space nothing is opened, because SQLite could be killed by it.
    """
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1000 * PAGE, free=10 * PAGE))
        with pytest.raises(OutboxError, match="the disk is full, less than 1 MB is free"):
            outbox.add([point()])
    assert list(place.iterdir()) == []

    outbox.add([point()])
    assert stored(outbox) == {"key"}


@needs_root
def test_read_only_directory(path):
    """
    Row 23: where the user may not write, the error names the directory and its permissions.
    """
    path.parent.chmod(0o755)

    [error] = _programs.run("add_as", path, NOBODY)
    assert error.endswith("Permission denied; check the directory's permissions")


@needs_root
@pytest.mark.parametrize("name", ["", "-wal", "-shm"])
def test_file_of_another_user(path, outbox, name):
    """
    Row 23: where root has made a file before, the error says which files to mend.
    """
    outbox.add([point()])
    path.parent.chmod(0o777)
    for file in path.parent.iterdir():
        os.chown(file, NOBODY, NOBODY)
    os.chown(f"{path}{name}", 0, 0)

    [error] = _programs.run("add_as", path, NOBODY)
    assert "; make the file" in error or "; check that the path" in error


@needs_open_files_replaced
@pytest.mark.parametrize("asks_statx", [True, False])
def test_deleted_file(path, outbox, caplog, monkeypatch, asks_statx):
    """
    Row 25: the point that was to go into a deleted file goes into a new one, and the log says so.
    """
    if not asks_statx:
        monkeypatch.setattr(status, "_statx", None)  # as on other systems
    outbox.add([point("before")])
    path.unlink()
    outbox.add([point("after")])

    assert stored(outbox) == {"after"}
    assert actions(caplog) == ["outbox_replaced"]


@needs_open_files_replaced
def test_replaced_file(path, outbox):
    """
    Row 25: the point goes into the file that has taken the place of the old one.
    """
    other = SQLiteOutbox(path.with_name("other.sqlite3"))
    other.add([point("theirs")])
    other.close()
    outbox.add(points(50, "before"))
    other.path.replace(path)
    outbox.add([point("after")])

    assert stored(outbox) == {"theirs", "after"}


@needs_open_files_replaced
def test_file_made_anew_by_another(path, outbox):
    """
    Row 25: the WAL of a new file that another process works on is left to it.
    """
    outbox.add([point("before")])
    path.unlink()
    path.with_name(f"{path.name}-wal").unlink()
    other = SQLiteOutbox(path)
    other.add([point("theirs")])
    outbox.add([point("after")])
    other.close()

    assert stored(outbox) == {"theirs", "after"}


@needs_open_files_replaced
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_deleted_under_several_processes(path, outbox, suffix):
    """
    Row 25: one deletes a file, three work on: what they acknowledge from then on is there, in whatever order they wake.
    """
    processes = [_programs.start("add_when_told", path) for _ in range(3)]
    assert [json.loads(process.stdout.readline()) for process in processes] == ["ready"] * 3
    for process in processes:
        tell(process, 5)
    path.with_name(f"{path.name}{suffix}").unlink()
    first, second, third = processes
    turns = [(first, 20), (second, 1), (first, 20), (third, 1), (second, 20), (first, 1), (third, 20)]
    acknowledged = set().union(*(tell(process, number) for process, number in turns))
    for process in processes:
        process.communicate()

    assert acknowledged <= stored(outbox)
    assert outbox._file.rows("PRAGMA integrity_check", {}) == [("ok",)]


@needs_open_files_replaced
def test_reader_of_a_deleted_file(path, outbox):
    """
    Row 25: a deliverer that only looks whether something is due does not look at a deleted file for ever.
    """
    outbox.open()
    path.unlink()
    other = SQLiteOutbox(path)
    other.add([point()])
    other.close()

    assert keys(claim(outbox)) == ["key"]


@needs_open_files_replaced
def test_directory_deleted_for_good(path, outbox, place):
    """
    Row 25: where nothing can be made any more the error says so.
    """
    outbox.add([point()])
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    place.write_text("in the way")

    with pytest.raises(OutboxError, match="check the directory's permissions"):
        outbox.add([point()])
    place.unlink()
    place.mkdir()


def filled(path):
    """
    Make a file of 2,000 points.
    """
    outbox = SQLiteOutbox(path)
    outbox.add(points(2000))
    outbox.close()


def spoil_page(path):
    content = bytearray(path.read_bytes())
    leaf = next(
        page for page in range(0, len(content), PAGE) if content[page] == 0x0D and b"key-1000" in content[page:][:PAGE]
    )
    content[leaf : leaf + PAGE] = b"\xa5" * PAGE
    path.write_bytes(content)


#: A way to damage a file, and how many of its 2,000 points can be read afterwards.
DAMAGES = {
    "garbage page": (spoil_page, 1900),
    "cut short": (lambda path: os.truncate(path, (path.stat().st_size + EMPTY) // 2 // PAGE * PAGE), 0.95 * 1000),
    "text": (lambda path: path.write_text("no database\n" * 1000), 0),
    "garbage schema": (lambda path: path.write_bytes(path.read_bytes()[:100] + b"\xa5" * 10_000), 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file(path, outbox, damage, caplog):
    """
    Row 24: a damaged file is set aside, what can be read is in a new one, and the log is clear about it.
    """
    filled(path)
    spoil, readable = DAMAGES[damage]
    spoil(path)
    spoiled = path.read_bytes()
    outbox.add([point("after")])
    claimed = set(keys(claim(outbox, 3000)))

    assert "after" in claimed
    assert len(claimed) > readable
    [aside] = [file for file in path.parent.glob("*.corrupt-*") if file.suffix.removeprefix(".corrupt-").isdigit()]
    assert aside.stat().st_size >= len(spoiled)
    assert actions(caplog) == ["outbox_damaged", "outbox_restored"]
    assert outbox._file.rows("PRAGMA integrity_check", {}) == [("ok",)]


@pytest.mark.parametrize(("owner", "name"), [(module, "connect"), (damage, "transact")], ids=["open", "copy"])
def test_damaged_file_on_a_full_disk(path, outbox, monkeypatch, owner, name):
    """
    Row 24: points of a damaged file that a full disk keeps out of the new one are there when the disk has room again.
    """
    filled(path)
    spoil_page(path)
    work, is_full = getattr(owner, name), []

    def refuse(*args, **options):
        if list(path.parent.glob("*.corrupt*")) and len(is_full) < 2:
            is_full.append(True)
            refuse_as_full()
        return work(*args, **options)

    monkeypatch.setattr(owner, name, refuse)
    for _ in range(2):
        with pytest.raises(OutboxError, match="full"):
            claim(outbox, 3000)

    assert len(claim(outbox, 3000)) > 1000


def test_file_damaged_in_its_turn(path, outbox, monkeypatch):
    """
    Row 24: when the new file is damaged before it has the points, they are still copied from the first one.
    """
    filled(path)
    spoil_page(path)
    with monkeypatch.context() as patch:
        patch.setattr(damage, "transact", refuse_as_full)
        with pytest.raises(OutboxError, match="full"):
            claim(outbox, 3000)
    path.write_text("no database\n" * 1000)

    assert len(claim(outbox, 3000)) > 1000
    assert len(list(path.parent.glob("*.corrupt-*"))) == 2


def refuse_as_full(*_):
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


def test_damaged_file_while_another_process_writes(path, outbox, monkeypatch):
    """
    Row 24: points that a full disk keeps out of the new file are copied, also while another process writes to it.
    """
    filled(path)
    spoil_page(path)
    copy, tries = damage.transact, []

    def disturb(*args):
        tries.append("full" if not tries else "locked" if other.in_transaction else "free")
        if tries[-1] == "full":
            refuse_as_full()
        try:
            return copy(*args)
        finally:
            other.rollback()

    monkeypatch.setattr(damage, "transact", disturb)
    with pytest.raises(OutboxError, match="full"):
        claim(outbox, 3000)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        claimed = claim(outbox, 3000)

    assert tries == ["full", "locked", "free"]
    assert len(claimed) > 1000


@needs_signals
def test_killed_while_a_damaged_file_is_replaced(place):
    """
    Row 24: wherever a process is killed that replaces a damaged file, the next one has what can be read of it.
    """
    source = place / "source.sqlite3"
    _programs.run("leave_wal", source, 1_500)  # some points are in the WAL only
    spoil_page(source)
    found, status = [], -signal.SIGKILL
    while status:
        path = place / f"{len(found)}.sqlite3"
        for suffix in ("", "-wal", "-lock"):
            shutil.copy(f"{source}{suffix}", f"{path}{suffix}")
        with _programs.start("replace_damaged", path, len(found)) as process:
            status = process.wait(_programs.DEADLINE)
        assert status in {0, -signal.SIGKILL}
        with closing(SQLiteOutbox(path)) as outbox:
            outbox.add([point("after")])  # which may not meet the damage
            found.append(len(stored(outbox)))

    assert len(found) > 5
    assert min(found) == max(found) > 1_400


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_damaged_file_that_another_program_has_open(path, outbox, monkeypatch, suffix):
    """
    Row 24: where an open file cannot be renamed, as on Windows, a damaged one and its WAL are set aside together later.
    """
    path.with_name(f"{path.name}-lock").touch()
    path.write_text("no database\n" * 1000)
    path.with_name(f"{path.name}-wal").touch()
    tries = []
    replace = Path.replace

    def replace_later(file, aside):
        tries.append(file.name)
        if tries.count(path.name + suffix) <= 3 and file.name == path.name + suffix:
            error = PermissionError(errno.EACCES, "The process cannot access the file")
            error.winerror = 32
            raise error
        return replace(file, aside)

    monkeypatch.setattr(Path, "replace", replace_later)
    outbox.add([point("after")])

    assert stored(outbox) == {"after"}
    [wal, aside] = sorted(path.parent.glob("*.corrupt-*"), key=lambda file: -len(file.name))
    assert wal.name == f"{aside.name}-wal"


def test_daily_totals_of_a_damaged_file(path, outbox):
    """
    Row 24: the daily totals of a damaged file are in the new one, too.
    """
    outbox.add([point("pruned")])
    outbox.update([claimed.register(REGISTRATION) for claimed in claim(outbox)])
    outbox.prune(-1)
    outbox.close()
    filled(path)
    spoil_page(path)
    outbox.add([point("after")])
    [total] = outbox.totals("state", "classification", registered=True)

    assert (total.number, total.classification) == (1, "billable")


def test_empty_file(path, outbox):
    """
    Row 24: a file of no bytes is a new outbox.
    """
    path.touch()
    outbox.add([point()])

    assert stored(outbox) == {"key"}


def test_file_emptied_under_an_open_outbox(path, outbox):
    """
    Row 24: a file that becomes empty is found out; what comes then is stored.
    """
    outbox.add([point("before")])
    outbox.close()
    outbox.open()
    os.truncate(path, 0)
    outbox.add([point("after")])

    assert "after" in stored(outbox)


@needs_forks
def test_damaged_file_opened_by_many(place):
    """
    Row 24: eight processes that find a damaged file set it aside once, and none its successor.
    """
    with closing(SQLiteOutbox(place / "0.sqlite3")) as outbox:
        outbox.open()
    (place / "0.sqlite3").write_text("no database\n" * 1000)

    assert _programs.run("open_at_once", 8, place / "0.sqlite3")[-1] == 0
    assert len(list(place.glob("*.corrupt-*"))) == 1


def test_file_of_another_program(place):
    """
    A file that was never an outbox and is no database is refused, and stays where and what it is.
    """
    (place / "app.conf").write_text("secret = yes\n")

    with closing(SQLiteOutbox(place / "app.conf")) as outbox, pytest.raises(OutboxError, match="no SQLite database"):
        outbox.add([point()])
    assert [(file.name, file.read_text()) for file in place.iterdir()] == [("app.conf", "secret = yes\n")]


def test_damaged_wal(path, outbox):
    """
    Row 26: rot in the WAL costs at most what is behind it, never the file.
    """
    [length] = _programs.run("leave_wal", path, 100)
    with path.with_name(f"{path.name}-wal").open("r+b") as wal:
        wal.seek(length // 2)
        wal.write(b"\xa5" * 100)
    left = stored(outbox)
    outbox.add([point("after")])

    assert {f"key-{index}" for index in range(40)} <= left
    assert outbox._file.rows("PRAGMA integrity_check", {}) == [("ok",)]
    assert stored(outbox) == left | {"after"}


def test_lock_held_by_another_process(monkeypatch, path, outbox):
    """
    Row 28: past the wait a locked file is an error, and with the lock gone all is as before.
    """
    monkeypatch.setattr(module, "_LOCK_WAIT", 0.05)
    outbox.add([point("before")])
    with _programs.start("hold_lock", path) as process:
        assert json.loads(process.stdout.readline()) == "locked"
        with pytest.raises(OutboxError, match="locked; another process has kept the file locked"):
            outbox.add([point("meanwhile")])
        assert stored(outbox) == {"before"}
        process.communicate("\n")
    outbox.add([point("after")])

    assert stored(outbox) == {"before", "after"}


def test_writers_wait_for_a_lock(path, outbox):
    """
    Row 28: a lock that goes away in time is only a delay.
    """
    outbox.add([point("before")])
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            holder.execute("ROLLBACK")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.time, "sleep", nap)
        outbox.add([point("after")])
    holder.close()

    assert len(naps) == 3
    assert all(0.0002 <= seconds <= 0.008 for seconds in naps)


def test_lock_file_held_by_another_process(monkeypatch, path, outbox):
    """
    Row 27: a process that never gets its turn to open the file gives up with an error.
    """
    monkeypatch.setattr(module, "_LOCK_WAIT", 0.05)
    other = SQLiteOutbox(path)._file
    other._file = path
    with other._alone(), pytest.raises(OutboxError, match="other processes have kept it locked"):
        outbox.add([point()])

    outbox.add([point()])
    assert stored(outbox) == {"key"}


def test_point_that_cannot_be_stored(outbox):
    """
    Row 40: a batch with a value that SQLite does not take is refused as a whole, and the outbox lives on.
    """
    bad = point("bad")
    object.__setattr__(bad, "host", "\ud800")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        outbox.add([point("good"), bad])
    outbox.add([point("after")])

    assert stored(outbox) == {"after"}

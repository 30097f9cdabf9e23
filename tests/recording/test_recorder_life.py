"""
The life of a recorder: its threads, the stop, forks, and the end of the interpreter.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from remotion_licensing_integrations.delivery import Worker
from remotion_licensing_integrations.outbox import SQLiteOutbox
from remotion_licensing_integrations.recording import recorder as recorder_module
from remotion_licensing_integrations.recording import threads as threads_module
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import keys as keys_module
from tests._delivery import KEY, Api, answer
from tests._environment import clean_environment
from tests._outboxes import PATIENCE, new_point
from tests._recorders import BOTH, actions, record, threads
from tests._systems import needs_forks
from tests.processes.servers import eventually


def test_nothing_before_the_first_use(make_recorder, slow_outbox) -> None:
    """
    Making a recorder starts and opens nothing.
    """
    make_recorder(delivery="worker")

    assert (threads(), slow_outbox.batches) == ([], [])


@pytest.mark.parametrize(
    ("delivery", "running"),
    [("worker", ["remotion-usage-delivery", "remotion-usage-writer"])]
    + [(delivery, ["remotion-usage-writer"]) for delivery in ("external", "inline", "off")],
)
def test_threads(make_recorder, delivery: str, running: list[str]) -> None:
    """
    There is one writer, and one delivery thread only where this process delivers by itself.
    """
    recorder = make_recorder(delivery=delivery)
    recorder.start()
    recorder.start()

    assert threads() == running


def test_start_with_a_refusing_store(make_recorder, slow_outbox, caplog) -> None:
    """
    An app starts although its store cannot be opened.
    """
    slow_outbox.refuses = True
    make_recorder().start()

    assert (threads(), actions(caplog)) == (["remotion-usage-writer"], ["outbox_refused"])


@pytest.mark.usefixtures("hasty")
def test_stop_commits_what_waits(make_recorder, slow_outbox) -> None:
    """
    Points that are not committed yet are committed by the stop.
    """
    slow_outbox.gate.clear()
    recorder = make_recorder()
    recorder.record(new_point())
    slow_outbox.gate.set()
    recorder.stop(PATIENCE)

    assert (slow_outbox.keys, threads()) == (["0"], [])


@pytest.mark.usefixtures("hasty")
def test_stop_is_bounded(make_recorder, slow_outbox) -> None:
    """
    A store that hangs delays the stop by its time limit, here the setting's.
    """
    slow_outbox.gate.clear()
    recorder = make_recorder(delivery="worker", shutdown_timeout=0.05)
    recorder.record(new_point())
    left_behind = recorder._threads
    began = time.monotonic()
    recorder.stop()

    assert 0.05 <= time.monotonic() - began < PATIENCE / 2
    slow_outbox.gate.set()
    left_behind.writer._thread.join(PATIENCE)
    left_behind.worker._thread.join(PATIENCE)
    assert slow_outbox.keys == ["0"]


@pytest.mark.usefixtures("patient")
def test_no_room_for_a_worker(make_recorder, monkeypatch, caplog) -> None:
    """
    Where the thread that delivers cannot start, points are committed all the same, and left to other processes.
    """
    monkeypatch.setattr(Worker, "start", fail_to_start)
    recorder = make_recorder(delivery="worker")

    assert recorder.record(new_point())
    assert (threads(), actions(caplog)) == (["remotion-usage-writer"], ["delivery_crashed"])


def fail_to_start(_: Worker) -> None:
    msg = "can't start new thread"
    raise RuntimeError(msg)


def test_stop_without_start(make_recorder) -> None:
    """
    Stopping what never ran, or twice, does nothing.
    """
    recorder = make_recorder()
    recorder.stop()
    recorder.stop()

    assert threads() == []


@pytest.mark.usefixtures("patient")
def test_record_after_stop(make_recorder, slow_outbox) -> None:
    """
    A point that comes after the stop starts the threads again.
    """
    recorder = make_recorder()
    recorder.record(new_point("before"))
    recorder.stop(PATIENCE)

    assert recorder.record(new_point("after"))
    assert slow_outbox.keys == ["before", "after"]


@pytest.mark.usefixtures("patient")
def test_record_while_stopping(make_recorder, slow_outbox, monkeypatch) -> None:
    """
    A point that is handed to a writer just stopped goes to the next one.
    """
    recorder = make_recorder()
    recorder.start()
    running = recorder._running

    def stop_and_run() -> Any:
        found = running()
        monkeypatch.undo()
        monkeypatch.setattr(recorder_module, "COMMIT_WAIT", PATIENCE)
        recorder.stop(PATIENCE)
        return found

    monkeypatch.setattr(recorder, "_running", stop_and_run)

    assert recorder.record(new_point())
    assert slow_outbox.keys == ["0"]


@pytest.mark.usefixtures("patient")
def test_stops_and_records_at_the_same_time(make_recorder, slow_outbox) -> None:
    """
    However stops and requests interleave, no point is lost.
    """
    recorder = make_recorder()
    with ThreadPoolExecutor(8) as requests:
        recorded = [requests.submit(recorder.record, new_point(str(number))) for number in range(400)]
        stops = [requests.submit(recorder.stop, PATIENCE) for _ in range(20)]
        assert [future.result() for future in (*recorded, *stops)] == [True] * 400 + [None] * 20

    assert len(slow_outbox.keys) == 400


@pytest.mark.usefixtures("patient")
def test_first_points_at_the_same_time(make_recorder, monkeypatch) -> None:
    """
    Two threads that record the first points share one writer.
    """
    recorder = make_recorder()
    looked = threading.Semaphore(0)
    own_threads = recorder._own_threads

    def look() -> Any:
        looked.release()
        return own_threads()

    monkeypatch.setattr(recorder, "_own_threads", look)
    with ThreadPoolExecutor(2) as requests:
        with threads_module.START_LOCK:
            running = [requests.submit(recorder._running) for _ in range(2)]
            assert looked.acquire(timeout=PATIENCE)
            assert looked.acquire(timeout=PATIENCE)
        first, second = (future.result(PATIENCE) for future in running)

    assert first is second


@BOTH
def test_no_thread_can_start(make_recorder, slow_outbox, how: str, monkeypatch) -> None:
    """
    Where no thread can start any more, the caller's commits the point.
    """

    def refuse(_: threading.Thread) -> None:
        msg = "can't create new thread at interpreter shutdown"
        raise RuntimeError(msg)

    recorder = make_recorder()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert record(recorder, how)

    assert (slow_outbox.keys, threads()) == (["0"], [])


def record_in_child(recorder: UsageRecorder, pipe: Any) -> None:
    before = (threads(), recorder.counts().waiting)
    committed = [recorder.record(new_point(f"child {number}")) for number in range(3)]
    pipe.send((before, committed, threads(), recorder.outbox.counts().pending))
    recorder.stop(PATIENCE)


@needs_forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
@pytest.mark.usefixtures("patient")
def test_fork_during_the_first_use(make_recorder, tmp_path) -> None:
    """
    A child that is forked while another thread starts the writer is not stuck at that thread's lock.
    """
    recorder = make_recorder(store=SQLiteOutbox(tmp_path / "usage.sqlite3"))
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=record_in_child, args=(recorder, theirs))
    holding, forking = threading.Event(), threading.Event()
    # Of the hooks before a fork, the one that was registered last runs first: ahead of the one that waits for the lock.
    os.register_at_fork(before=forking.set)

    def hold() -> None:
        with threads_module.START_LOCK:
            holding.set()
            forking.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert holding.wait(PATIENCE)
    child.start()
    answered = ours.poll(PATIENCE)
    holder.join()
    child.kill() if not answered else child.join(PATIENCE)

    assert (answered, child.exitcode) == (True, 0)


FORK_WHILE_CREATING = """
import os, threading
from remotion_licensing_integrations import Settings, UsageRecorder, default_recorder
from remotion_licensing_integrations.recording import provide_default_recorder, SharedRecorder

creating, forking = threading.Event(), threading.Event()
os.register_at_fork(before=forking.set)  # runs between those of the locks of SQLite's files and of the first use
from remotion_licensing_integrations.outbox import SQLiteOutbox

def create():
    creating.set()
    forking.wait()
    return UsageRecorder(Settings(license_key="rm_pub_x"), outbox=SQLiteOutbox("usage.sqlite3"))

provide_default_recorder(SharedRecorder(create))
thread = threading.Thread(target=default_recorder)
thread.start()
creating.wait()
child = os.fork()
if not child:
    os._exit(0)
thread.join()
os.waitpid(child, 0)
"""


@needs_forks
def test_fork_while_a_recorder_is_created(tmp_path) -> None:
    """
    A fork does not wait for ever for a thread that is creating the recorder of a file.
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK_WHILE_CREATING]

    assert subprocess.run(command, env=clean_environment(), cwd=tmp_path, timeout=30, check=False).returncode == 0


@needs_forks
@pytest.mark.usefixtures("patient")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_fork(make_recorder, tmp_path) -> None:
    """
    A forked child has threads of its own, and what waits in the parent is recorded by the parent alone, once.
    """
    store = SQLiteOutbox(tmp_path / "usage.sqlite3")
    recorder = make_recorder(store=store)
    recorder.record(new_point("parent"))
    recorder._threads.writer._backlog.append((new_point("waiting"), Future(), None))
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=record_in_child, args=(recorder, theirs))
    child.start()
    assert ours.poll(PATIENCE)
    before, committed, running, stored = ours.recv()
    child.join(PATIENCE)

    assert (before, committed, running) == (([], 0), [True] * 3, ["remotion-usage-writer"])
    assert (stored, child.exitcode) == (4, 0)
    assert recorder.record(new_point("later"))
    assert store.counts().pending == 6


AT_EXIT = """
import atexit, sys
from remotion_licensing_integrations.recording import recorder as recorder_module
from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder

recorder_module.COMMIT_WAIT = 30
settings = Settings(license_key="free-license", outbox="sqlite:///usage.sqlite3", delivery="external")
recorder = UsageRecorder(settings)
point = UsagePoint(event="cloud-render", host=None, succeeded=True)

def record():
    print(recorder.record(point))

if "warm" in sys.argv:
    recorder.record(UsagePoint(event="cloud-render", host=None, succeeded=True))
atexit.register(record)
"""
PYTHONS = [Path(sys.executable), *sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python"))]


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parent.parent.name)
@pytest.mark.parametrize(("state", "points"), [("cold", 1), ("warm", 2)])
def test_record_at_exit(python: Path, state: str, points: int, tmp_path) -> None:
    """
    A point that is recorded while the interpreter ends is stored, whether or not threads can still start.
    """
    package = Path(recorder_module.__file__).parent.parent.parent
    done = subprocess.run(
        [python, "-W", "error", "-c", AT_EXIT, state],
        env={**os.environ, "PYTHONPATH": str(package)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout.split(), done.stderr, done.returncode) == (["True"], "", 0)
    with sqlite3.connect(tmp_path / "usage.sqlite3") as connection:
        assert connection.execute("SELECT COUNT(*) FROM remotion_usage_point").fetchone() == (points,)
    connection.close()


def test_import_starts_nothing() -> None:
    """
    Importing the package starts no thread and loads neither an HTTP library nor SQLite.
    """
    code = """
import json, sys, threading
import remotion_licensing_integrations
print(json.dumps([threading.active_count(), sorted({"httpx", "httpx2", "sqlite3"} & set(sys.modules))]))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=True)

    assert json.loads(done.stdout) == [1, []]


@pytest.mark.parametrize(("key", "status", "calls"), [(KEY, 401, 1), (lambda: KEY, 404, 1), (lambda: KEY, 401, 2)])
def test_pause_outlives_a_stop(key, status, calls, make_recorder) -> None:
    """
    A recorder that is stopped and started goes on with its pause; but it looks once where another key may end it.
    """
    api = Api(answer(status, b""), answer(status, b""))
    recorder = make_recorder(transport=api.transport, license_key=key)
    recorder.record(new_point(), wait=PATIENCE)
    for _ in range(2):
        recorder.deliver()
        recorder.stop(PATIENCE)

    assert len(api.keys) == calls


def test_key_that_comes_while_nobody_delivers(make_recorder, monkeypatch) -> None:
    """
    Another licence key ends the pause for a refused one, also when a process that does not deliver notices it.
    """
    for module in (keys_module, threads_module):
        monkeypatch.setattr(module, "READ_EVERY", 0.001)
    keys = [KEY]
    recorder = make_recorder(transport=Api(answer(401, b"")).transport, license_key=lambda: keys[-1])
    recorder.record(new_point(), wait=PATIENCE)
    recorder.deliver()
    assert recorder.next_due() > 0
    keys.append("rm_pub_another")

    eventually(lambda: recorder.next_due() == 0)

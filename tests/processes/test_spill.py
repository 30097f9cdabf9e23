"""
Promise 2 and 3 while the outbox is away: points are in the spill, where no kill reaches them, and each counts once.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from remotion_licensing_integrations.outbox import ServerOutbox, SQLiteOutbox
from tests._environment import clean_environment
from tests._server_outbox import empty, to_url
from tests.processes.servers import DEADLINE, HERE, KEY, eventually

#: Rounds of kills; the environment may ask for more.
ROUNDS = int(os.environ.get("SPILL_ROUNDS", "5"))
POINTS = 10  # of a round
CLIENTS = 6
KILLS = 12
BETWEEN = 20  # answers from one kill to the next
#: After which kills the database crashes, and comes back.
CRASHES, STARTS = {2, 7}, {4, 9}
#: Past 0.25 s a response does not wait for its commit, on purpose. A busy machine must not bring that into these tests.
PATIENT = {"COMMIT_WAIT": "15"}
#: What a killed worker had claimed is due again after its lease.
SHORT_LEASE = {"REMOTION_LICENSING_TIMEOUT": "0.5", "REMOTION_LICENSING_LEASE": "1.5"}


@pytest.fixture(params=["postgresql", "mariadb"])
def database(request):
    """
    An empty outbox in a database server that the test may stop.
    """
    server = request.getfixturevalue(f"durable_{request.param}")
    with suppress(AssertionError):
        server.stop()
    server.start()
    with closing(ServerOutbox(to_url(server.entry))) as outbox:
        outbox.open()
        empty(outbox)
    return server


@pytest.fixture
def environment(database, tmp_path):
    """
    What the environment of a server over the database has.
    """
    return {
        **PATIENT,
        **SHORT_LEASE,
        "REMOTION_LICENSING_OUTBOX": to_url(database.entry),
        "REMOTION_LICENSING_SPILL": f"sqlite:///{tmp_path}/spill.sqlite3",
    }


def keys_of(sandbox):
    return sorted(point.idempotency_key for point in sandbox.points())


def call_until(stopped, server, calls, answers):
    """
    Convert again and again; a worker that is killed under a request gives no answer.
    """
    while not stopped.is_set():
        calls.append(server)
        with suppress(OSError, HTTPException):
            answers.append(server.convert())


@pytest.mark.parametrize(
    ("name", "database"), [("uvicorn-4", "postgresql"), ("gunicorn-4-preload", "mariadb")], indirect=["database"]
)
def test_points_survive_crashes_of_the_database_and_of_workers(name, serve, sandbox, database, environment):
    """
    Twice the database crashes under load while worker after worker is killed; each answer that arrived has one
    registered point.
    """
    calls, answers, stopped = [], [], threading.Event()
    with (
        serve(name, base_url=sandbox.url, environment=environment) as server,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        try:
            for _ in range(CLIENTS):
                clients.submit(call_until, stopped, server, calls, answers)
            for kill in range(KILLS):
                enough = len(answers) + BETWEEN
                eventually(lambda enough=enough: len(answers) >= enough)
                with suppress(ProcessLookupError):
                    os.kill(random.choice(answers[-BETWEEN:])["pid"], signal.SIGKILL)
                if kill in CRASHES:
                    database.stop()
                if kill in STARTS:
                    database.start()
        finally:
            stopped.set()
    keys = {answer["idempotency_key"] for answer in answers}
    with serve(name, base_url=sandbox.url, environment=environment):
        eventually(lambda: keys <= set(keys_of(sandbox)))
    assert len(keys_of(sandbox)) <= len(calls)


def test_a_kill_loses_points_without_a_spill(serve, sandbox, database, environment):
    """
    The control: with the spill off, points that were answered while the database is away are lost with their process.
    """
    environment = environment | {"REMOTION_LICENSING_SPILL": "off"}
    with serve("uvicorn", base_url=sandbox.url, environment=environment) as server:
        database.stop()
        lost = [server.convert()["idempotency_key"] for _ in range(3)]
        server.kill()
    database.start()
    with serve("uvicorn", base_url=sandbox.url, environment=environment) as server:
        kept = server.convert()["idempotency_key"]
        sandbox.wait_for(points=1, timeout=DEADLINE)
        server.stop()
    assert keys_of(sandbox) == [kept]
    assert kept not in lost


@pytest.fixture
def start(environment, sandbox, tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """
    Start processes of `spilling_process.py`; they are killed at the end.
    """
    started: list[subprocess.Popen[str]] = []
    url, spill = environment["REMOTION_LICENSING_OUTBOX"], environment["REMOTION_LICENSING_SPILL"]
    command = [sys.executable, str(HERE / "spilling_process.py"), url, spill]

    def start(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*command, *words],
            env=clean_environment(REMOTION_LICENSE_KEY=KEY, REMOTION_LICENSING_BASE_URL=sandbox.url),
            cwd=tmp_path,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said_before_its_death(process):
    """
    Return what a process says, and kill it.
    """
    said = json.loads(process.stdout.readline())
    process.kill()
    process.wait()
    return said


def test_a_spill_of_killed_processes_is_moved_by_the_next_ones(start, sandbox, database, tmp_path):
    """
    A process is killed with points in its spill, the next one in a move, before or after the outbox has a batch; two
    that start at once then move all, and each point is sent once.
    """
    spill = SQLiteOutbox(tmp_path / "spill.sqlite3")
    keys = []
    for number in range(ROUNDS):
        keys += said_before_its_death(start("leave", str(POINTS)))
        said_before_its_death(start("halt", str(1 + number % 3), ("before", "after")[number % 2]))
        movers = [start("move"), start("move")]
        eventually(lambda: spill.counts().pending == 0)
        sandbox.wait_for(points=len(keys), timeout=DEADLINE)
        for mover in movers:
            mover.communicate(timeout=DEADLINE)
    spill.close()
    assert sorted(sandbox.idempotency_keys()) == sorted(keys)


@contextmanager
def small_disk(place: Path) -> Iterator[Callable[..., None]]:
    """
    Have a file system of 8 MB at *place*, and a function that mounts it anew with other options.
    """

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(place)], check=True, capture_output=True)

    place.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=8m", "remotion-tests")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user cannot mount a file system")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as mount:
        yield functools.partial(mount, "-o")


@pytest.fixture
def on_disk(disk, tmp_path):
    """
    What the environment of a server has whose outbox is on a disk of its own.
    """
    return {
        **PATIENT,
        "REMOTION_LICENSING_OUTBOX": f"sqlite:///{tmp_path}/disk/usage.sqlite3",
        "REMOTION_LICENSING_SPILL": f"sqlite:///{tmp_path}/spill.sqlite3",
    }


#: For servers that are killed: what they had claimed, or had failed to send, would be due much later.
OFF = {"REMOTION_LICENSING_DELIVERY": "off"}


def fill(file: Path) -> None:
    """
    Write to *file* until the disk is full.
    """
    with suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def test_a_full_disk_loses_nothing(serve, sandbox, on_disk, tmp_path):
    """
    While the disk of the outbox is full, points go to the spill on another one; a kill does not reach them there.
    """
    ballast = tmp_path / "disk" / "ballast"
    with serve("uvicorn", base_url=sandbox.url, environment=on_disk | OFF) as server:
        keys = [server.convert()["idempotency_key"]]
        fill(ballast)
        # Some fit into what SQLite has of the disk.
        eventually(lambda: keys.append(server.convert()["idempotency_key"]) or (tmp_path / "spill.sqlite3").exists())
        keys += [server.convert()["idempotency_key"] for _ in range(5)]
        server.kill()
    ballast.unlink()
    with serve("uvicorn", base_url=sandbox.url, environment=on_disk):
        eventually(lambda: set(keys) <= set(keys_of(sandbox)))
    assert keys_of(sandbox) == sorted(keys)


def test_a_disk_that_cannot_be_written_loses_nothing(serve, sandbox, on_disk, disk):
    """
    A server that starts when the disk of its outbox is read-only has its points in the spill; the next one moves them.
    """
    with serve("uvicorn", base_url=sandbox.url, environment=on_disk | OFF) as server:
        keys = [server.convert()["idempotency_key"]]
        server.kill()
    disk("remount,ro")
    with serve("uvicorn", base_url=sandbox.url, environment=on_disk | OFF) as server:
        keys += [server.convert()["idempotency_key"] for _ in range(5)]
        server.kill()
    disk("remount,rw")
    with serve("uvicorn", base_url=sandbox.url, environment=on_disk):
        eventually(lambda: set(keys) <= set(keys_of(sandbox)))
    assert keys_of(sandbox) == sorted(keys)

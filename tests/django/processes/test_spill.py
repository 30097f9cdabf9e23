"""
Promise 2 and 3 for Django while the project's database is away: points are in the spill, and each counts once.

`gunicorn-gthread-4-preload` has sync views and a recorder after a fork, `uvicorn-4` async views in the event loop.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException

import pytest

from tests.django.processes.conftest import execute, migrate
from tests.django.processes.servers import Server
from tests.processes.servers import DEADLINE, eventually

CLIENTS = 6
KILLS = 12
BETWEEN = 20  # answers from one kill to the next
#: After which kills the database crashes, and comes back.
CRASHES, STARTS = {2, 7}, {4, 9}


@pytest.fixture(scope="module")
def migrated_server(durable_postgresql):
    """
    A server that the tests may stop, with the tables.
    """
    migrate(durable_postgresql.entry)
    return durable_postgresql


@pytest.fixture
def database(migrated_server):
    """
    The same without points, and running.
    """
    if not migrated_server.processes():
        migrated_server.start()
    execute(migrated_server.entry, "DELETE FROM remotion_licensing_usagepointrecord")
    return migrated_server


@pytest.fixture
def serve(database, sandbox, tmp_path):
    """
    Start servers over the database; their environment may have changes.
    """
    settings = {
        # Past 0.25 s a response does not wait for its commit, on purpose. A busy machine must not bring that in here.
        "COMMIT_WAIT": "15",
        "REMOTION_LICENSING_BASE_URL": sandbox.url,
        "REMOTION_LICENSING_DELIVERY": "worker",
        "REMOTION_LICENSING_SPILL": f"sqlite:///{tmp_path}/spill.sqlite3",
        "REMOTION_LICENSING_TIMEOUT": "0.5",
        "REMOTION_LICENSING_LEASE": "1.5",
    }
    return lambda name, **changes: Server(name, database.entry, place=tmp_path, **{**settings, **changes})


def keys_of(sandbox):
    return {point.idempotency_key for point in sandbox.points()}


def call_until(stopped, server, path, calls, answers):
    """
    Convert again and again; a worker that is killed under a request gives no answer.
    """
    while not stopped.is_set():
        calls.append(path)
        with suppress(OSError, HTTPException):
            answers.append(server.call(path))


@pytest.mark.parametrize(("name", "path"), [("gunicorn-gthread-4-preload", "/convert"), ("uvicorn-4", "/aconvert")])
def test_points_survive_crashes_of_the_database_and_of_workers(name, path, serve, database, sandbox):
    """
    Twice the database crashes under load while worker after worker is killed; each answer that arrived has one
    registered point.
    """
    calls, answers, stopped = [], [], threading.Event()
    with serve(name) as server, ThreadPoolExecutor(CLIENTS) as clients:
        try:
            for _ in range(CLIENTS):
                clients.submit(call_until, stopped, server, path, calls, answers)
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
    with serve(name) as server:
        # A recorder starts with the first point of its process.
        keys.add(server.call(path)["idempotency_key"])
        eventually(lambda: keys <= keys_of(sandbox))
    assert len(keys_of(sandbox)) <= len(calls) + 1


def test_a_kill_loses_points_without_a_spill(serve, database, sandbox):
    """
    The control: with the spill off, points that were answered while the database is away are lost with their process.
    """
    changes = {"REMOTION_LICENSING_SPILL": "off", "COMMIT_WAIT": "0.25"}
    with serve("uvicorn-4", **changes) as server:
        database.stop()
        lost = {server.call("/convert")["idempotency_key"] for _ in range(3)}
        server.kill()
    database.start()
    with serve("uvicorn-4", **changes) as server:
        kept = server.call("/convert")["idempotency_key"]
        sandbox.wait_for(points=1, timeout=DEADLINE)
        server.stop()
    assert keys_of(sandbox) == {kept} - lost

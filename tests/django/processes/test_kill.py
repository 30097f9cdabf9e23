"""
Promise 2 and 3 for Django under `kill -9`: a point whose response arrived is registered, and counted once.

Each server proves a fact that the others do not: `gunicorn-sync-4` one request at a time; `gunicorn-gthread-4-preload`
threads in workers forked with the project loaded; `uvicorn-4` sync views in threads (`/convert`) and async views
in the event loop (`/aconvert`). What a database keeps does not depend on the server, so each database has two servers.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException

import pytest

from tests.django.processes.servers import Server, environment, manage
from tests.processes.servers import DEADLINE, eventually

#: Past 0.25 s a response does not wait for its commit, on purpose. A busy machine must not bring that into these tests.
PATIENT = {
    "COMMIT_WAIT": "15",
    "REMOTION_LICENSING_DELIVERY": "worker",
}
#: What a killed worker had claimed is due again after its lease.
SHORT_LEASE = {"REMOTION_LICENSING_TIMEOUT": "0.5", "REMOTION_LICENSING_LEASE": "1.5"}
CLIENTS = 6
KILLS = 6  # more than there are workers
BETWEEN = 20  # answers from one kill to the next


def call_until(stopped, server, path, calls, answers):
    """
    Convert again and again; a worker that is killed under a request gives no answer.
    """
    while not stopped.is_set():
        calls.append(path)
        with suppress(OSError, HTTPException):
            answers.append(server.call(path))


def states(database):
    """
    Return the state of each point in the table by its key.
    """
    words = ("remotion_licensing", "list", "--json", "--limit=100000")
    with manage(*words, environment=environment(database)) as process:
        output, _ = process.communicate(timeout=DEADLINE)
    rows = [json.loads(line) for line in output.splitlines()]
    return {row["idempotency_key"]: row["state"] for row in rows}


@pytest.mark.parametrize(
    ("name", "path", "database"),
    [
        ("gunicorn-sync-4", "/convert", "sqlite_file"),
        ("gunicorn-gthread-4-preload", "/convert", "postgresql_database"),
        ("uvicorn-4", "/convert", "postgresql_database"),
        ("uvicorn-4", "/aconvert", "sqlite_file"),
    ],
    indirect=["database"],
)
def test_points_of_killed_workers_are_registered_once(name, path, database, sandbox, tmp_path):
    """
    Again and again a worker is killed while six clients convert; each answer that arrived has one registered point.
    """
    calls, answers, stopped = [], [], threading.Event()
    settings = {
        **PATIENT,
        **SHORT_LEASE,
        "REMOTION_LICENSING_BASE_URL": sandbox.url,
        "REMOTION_LICENSING_SPILL": f"sqlite:///{tmp_path}/spill.sqlite3",
    }
    with Server(name, database, place=tmp_path, **settings) as server, ThreadPoolExecutor(CLIENTS) as clients:
        try:
            for _ in range(CLIENTS):
                clients.submit(call_until, stopped, server, path, calls, answers)
            for _ in range(KILLS):
                enough = len(answers) + BETWEEN
                eventually(lambda enough=enough: len(answers) >= enough)
                with suppress(ProcessLookupError):
                    os.kill(random.choice(answers[-BETWEEN:])["pid"], signal.SIGKILL)
        finally:
            stopped.set()
    keys = {answer["idempotency_key"] for answer in answers}
    # On a slow disk the spill may have some of them, which the deliverer moves.
    with manage("remotion_licensing", "deliver", environment=environment(database, **settings)) as deliverer:
        eventually(lambda: keys <= states(database).keys())
        eventually(lambda: set(states(database).values()) == {"registered"})
        deliverer.kill()
        deliverer.communicate()
    registered = [point.idempotency_key for point in sandbox.points()]
    assert keys <= set(registered)
    assert len(registered) == len(set(registered)) <= len(calls)


@pytest.mark.parametrize(
    ("name", "database"),
    [
        ("gunicorn-sync-4", "sqlite_file"),
        ("gunicorn-gthread-4-preload", "postgresql_database"),
        ("uvicorn-4", "sqlite_file"),
    ],
    indirect=["database"],
)
def test_an_answer_survives_the_death_of_the_whole_server(name, database, sandbox, tmp_path):
    """
    All processes are killed the moment a response ends, while the API is down; the next server registers its point.
    """
    settings = {**PATIENT, **SHORT_LEASE}
    with Server(name, database, place=tmp_path, **settings) as server:
        key = server.call("/convert")["idempotency_key"]
        server.kill()
    settings["REMOTION_LICENSING_BASE_URL"] = sandbox.url
    with Server(name, database, place=tmp_path, **settings) as server:
        other = server.call("/convert")["idempotency_key"]
        eventually(lambda: len(sandbox.points()) == 2)
    assert {point.idempotency_key for point in sandbox.points()} == {key, other}


@pytest.mark.parametrize("name", ["gunicorn-gthread-4-preload", "uvicorn-4"])
def test_every_worker_delivers(name, sqlite_file, sandbox):
    """
    Each of four processes registers the points that it recorded, each once.
    """
    answers = []
    with Server(name, sqlite_file, **PATIENT, REMOTION_LICENSING_BASE_URL=sandbox.url) as server:
        eventually(lambda: answers.append(server.call("/convert")) or len({answer["pid"] for answer in answers}) == 4)
        eventually(lambda: len(sandbox.points()) >= len(answers))
    assert sorted(sandbox.idempotency_keys()) == sorted(answer["idempotency_key"] for answer in answers)


@pytest.mark.parametrize("name", ["gunicorn-gthread-4-preload", "uvicorn-4"])
def test_a_server_ends_when_it_is_asked_to(name, sqlite_file, sandbox):
    """
    The threads of the recorder keep no process alive.
    """
    with Server(name, sqlite_file, **PATIENT, REMOTION_LICENSING_BASE_URL=sandbox.url) as server:
        server.call("/convert")
        assert server.stop()[0] == 0

"""
Promise 2 and 3 under `kill -9`: an acknowledged usage point is registered, and counted once.

Each server proves a fact that the others do not: uvicorn, hypercorn and granian end a response in three ways;
the workers of `uvicorn-4` load the app themselves; those of `gunicorn-4-preload` are forked with the app loaded.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException

import pytest

from tests.processes.servers import DEADLINE, eventually

ROUNDS = 5
WORKERS = 4
LATER = {"HOURS_LATER": "1"}
#: Past 0.25 s a response does not wait for its commit, on purpose. A busy machine must not bring that into these tests.
PATIENT = {"COMMIT_WAIT": "15"}


def deliver_later(serve, name, sandbox, keys):
    """
    Start the server again an hour later, with the API up; return the keys of all that was registered until *keys* are.
    """
    with serve(name, base_url=sandbox.url, environment=LATER):
        eventually(lambda: keys <= {point.idempotency_key for point in sandbox.points()})
    return [point.idempotency_key for point in sandbox.points()]


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn-4", "gunicorn-4-preload", "hypercorn", "granian"])
def test_points_acknowledged_before_a_kill_are_registered_once(name, serve, refused_url, sandbox):
    """
    In each round the whole server is killed the moment a response ends, while the API is down; no point is lost.
    """
    keys = set()
    for _ in range(ROUNDS):
        with serve(name, base_url=refused_url, environment=PATIENT) as server:
            keys.add(server.convert()["idempotency_key"])
            server.kill()
    registered = deliver_later(serve, name, sandbox, keys)
    assert sorted(registered) == sorted(keys)


@pytest.mark.parametrize("name", ["uvicorn-4", "gunicorn-4-preload"])
def test_points_of_killed_workers_are_registered_once(name, serve, refused_url, sandbox):
    """
    The worker that has just answered is killed, more often than there are workers, and the server lives on; no point is
    lost.
    """
    keys = set()
    with serve(name, base_url=refused_url, environment=PATIENT) as server:
        for _ in range(WORKERS + 2):
            answer = server.convert()
            os.kill(answer["pid"], signal.SIGKILL)
            keys.add(answer["idempotency_key"])
        server.kill()
    registered = deliver_later(serve, name, sandbox, keys)
    assert sorted(registered) == sorted(keys)


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn-4-preload"])
def test_points_acknowledged_among_concurrent_ones_are_registered_once(name, serve, refused_url, sandbox):
    """
    When eight clients call at once and the server is killed in between, every point that was acknowledged counts once.
    """
    keys = set()

    def call_until_killed(server):
        with suppress(OSError, HTTPException):
            while True:
                keys.add(server.convert()["idempotency_key"])

    with serve(name, base_url=refused_url, environment=PATIENT) as server, ThreadPoolExecutor(8) as clients:
        calls = [clients.submit(call_until_killed, server) for _ in range(8)]
        eventually(lambda: len(keys) > 100)
        server.kill()
        for call in calls:
            call.result()
    registered = deliver_later(serve, name, sandbox, keys)
    assert len(registered) == len(set(registered))


@pytest.mark.parametrize("path", ["/convert-without-body", "/convert-to-known-length"])
def test_a_response_that_is_whole_before_its_last_message_is_no_loophole(path, serve, refused_url, sandbox):
    """
    A client that has all of a response knows its end from status or Content-Length; the point is safe by then.
    """
    keys = set()
    for _ in range(ROUNDS):
        with serve("uvicorn", base_url=refused_url, environment=PATIENT) as server:
            headers, _ = server.request("POST", path)
            server.kill()
            keys.add(headers["idempotency-key"])
    registered = deliver_later(serve, "uvicorn", sandbox, keys)
    assert sorted(registered) == sorted(keys)


def test_a_kill_loses_points_that_only_memory_has(serve, refused_url, sandbox, outbox):
    """
    The control: with an outbox in memory the same kill does lose the point, so these tests would notice.
    """
    with serve("uvicorn", base_url=refused_url, environment={"REMOTION_LICENSING_OUTBOX": "memory://"}) as server:
        lost = server.convert()["idempotency_key"]
        server.kill()
    with serve("uvicorn", base_url=sandbox.url) as server:
        kept = server.convert()["idempotency_key"]
        sandbox.wait_for(points=1, timeout=DEADLINE)
        server.stop()
    assert {kept} == {point.idempotency_key for point in sandbox.points()} - {lost}


def test_a_deliverer_killed_before_it_notes_the_answer_sends_the_same_key_again(serve, sandbox):
    """
    A point that was counted, but whose answer was never written down, is sent again after its lease and counts once.
    """
    short = {"REMOTION_LICENSING_TIMEOUT": "0.5", "REMOTION_LICENSING_LEASE": "1.5"}
    sandbox.set_failure("hang", count_first=True)
    with serve("uvicorn", base_url=sandbox.url, environment=short) as server:
        key = server.convert()["idempotency_key"]
        sandbox.wait_for(requests=1, timeout=DEADLINE)
        server.kill()
    sandbox.set_failure()
    with serve("uvicorn", base_url=sandbox.url, environment=short):
        sandbox.wait_for(requests=2, timeout=DEADLINE)
    assert sandbox.idempotency_keys() == [key, key]
    assert [(point.idempotency_key, point.repeats) for point in sandbox.points()] == [(key, 1)]


def test_a_worker_that_gunicorn_aborts_loses_nothing(serve, refused_url, sandbox):
    """
    A worker that is stuck is ended with SIGABRT, without lifespan or atexit; its points are registered once.
    """
    with serve("gunicorn", base_url=refused_url, options=("--timeout=1",), environment=PATIENT) as server:
        answer = server.convert()
        with ThreadPoolExecutor(1) as client:
            stuck = client.submit(server.request, "POST", "/block")
            eventually(lambda: f"WORKER TIMEOUT (pid:{answer['pid']})" in server.output)
            assert stuck.exception() is not None
        after = server.convert()
        server.kill()
    keys = {answer["idempotency_key"], after["idempotency_key"]}
    assert sorted(deliver_later(serve, "gunicorn", sandbox, keys)) == sorted(keys)


def test_workers_replaced_after_some_requests_lose_nothing(serve, sandbox):
    """
    With `--max-requests` each worker ends after a few requests, and every point is registered once.
    """
    with serve("gunicorn", base_url=sandbox.url, options=("--workers=2", "--max-requests=3")) as server:
        answers, broken = [], []

        def convert():
            try:
                answers.append(server.convert())
            except ConnectionError as error:  # of a worker that has just ended; whether it has counted, nobody was told
                broken.append(error)
            return len({answer["pid"] for answer in answers}) == 4

        eventually(convert)
        answered = {answer["idempotency_key"] for answer in answers}
        eventually(lambda: answered <= set(sandbox.idempotency_keys()))
    sent = sandbox.idempotency_keys()
    assert len(sent) == len(set(sent))
    assert len(answers) <= len(sent) <= len(answers) + len(broken)

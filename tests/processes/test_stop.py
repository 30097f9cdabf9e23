"""
A server that is told to stop delivers what it can, promptly, and leaves the rest to the next one.

Each server proves a fact that the others do not: uvicorn, hypercorn and granian shut an app down in three ways;
`uvicorn-4` and `gunicorn-4` pass the signal on to workers; those of `gunicorn-4-preload` are forked with the app.
"""

from __future__ import annotations

import re
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from tests.processes.servers import DEADLINE, eventually

EXIT_CODES = {
    # uvicorn raises the signal again after its own shutdown.
    "uvicorn": -signal.SIGTERM,
    "uvicorn-4": 0,
    "gunicorn-4": 0,
    "gunicorn-4-preload": 0,
    "hypercorn": 0,
    "granian": 0,
}
#: Time for everything, also where four workers load an HTTP library at once on a busy machine.
PATIENT = {"REMOTION_LICENSING_SHUTDOWN_TIMEOUT": "30", "COMMIT_WAIT": "15"}
SHUTDOWN_TIMEOUT = 1.0  # seconds
#: An answer of the API is waited for much longer than a stop may take.
HANGING = {
    "REMOTION_LICENSING_TIMEOUT": "60",
    "REMOTION_LICENSING_LEASE": "180",
    "REMOTION_LICENSING_SHUTDOWN_TIMEOUT": str(SHUTDOWN_TIMEOUT),
}


def keys_of(points):
    return [point.idempotency_key for point in points]


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_five_calls_then_sigterm_are_five_points(name, code, serve, sandbox):
    """
    What was converted before SIGTERM is registered before the server has ended, with the exit code that is its own.
    """
    with serve(name, base_url=sandbox.url, environment=PATIENT) as server:
        keys = [server.convert()["idempotency_key"] for _ in range(5)]
        assert server.stop()[0] == code
        assert sorted(keys_of(sandbox.points())) == sorted(keys)


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn-4", "hypercorn", "granian"])
def test_five_calls_then_ctrl_c_are_five_points(name, serve, sandbox):
    """
    What was converted before SIGINT is registered before the server has ended, too.
    """
    with serve(name, base_url=sandbox.url, environment=PATIENT) as server:
        keys = [server.convert()["idempotency_key"] for _ in range(5)]
        server.stop(signal.SIGINT)
        assert sorted(keys_of(sandbox.points())) == sorted(keys)


@pytest.mark.parametrize("name", ["uvicorn-4", "gunicorn-4", "gunicorn-4-preload"])
def test_points_are_sent_once_when_several_workers_stop(name, serve, sandbox):
    """
    Workers that end at the same moment do not send each other's points again.
    """
    with serve(name, base_url=sandbox.url, environment=PATIENT) as server:
        for _ in range(20):
            server.convert()
        server.stop()
        assert sandbox.requests == 20


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn-4", "gunicorn-4"])
def test_a_day_without_trouble_leaves_no_line_in_the_log(name, serve, sandbox):
    """
    Recording, delivering and stopping are silent while all goes well, also when workers open a new outbox at once.
    """
    with serve(name, base_url=sandbox.url, environment=PATIENT) as server:
        for _ in range(5):
            server.convert()
        server.stop()
        assert not re.search("usage point|outbox|Traceback|Warning|exception", server.output, re.IGNORECASE)


@pytest.mark.parametrize("name", EXIT_CODES)
def test_a_hanging_api_does_not_delay_the_exit(name, serve, sandbox):
    """
    While the API gives no answer, a server ends within `shutdown_timeout` and a second.
    """
    sandbox.set_failure("hang")
    with serve(name, base_url=sandbox.url, environment=HANGING) as server:
        for _ in range(5):
            server.convert()
        sandbox.wait_for(requests=1, timeout=DEADLINE)
        assert server.stop()[1] < SHUTDOWN_TIMEOUT + 1


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn-4", "gunicorn-4-preload"])
def test_points_that_a_stop_left_behind_keep_their_keys(name, serve, sandbox):
    """
    Points counted by an API that never answered are sent again by the next server, and count once.
    """
    sandbox.set_failure("hang", count_first=True)
    with serve(name, base_url=sandbox.url, environment=HANGING) as server:
        keys = sorted(server.convert()["idempotency_key"] for _ in range(5))
        sandbox.wait_for(requests=1, timeout=DEADLINE)
        server.stop()
    sandbox.set_failure()
    requests = sandbox.requests
    with serve(name, base_url=sandbox.url, environment={"HOURS_LATER": "1"}):
        sandbox.wait_for(requests=requests + 5, timeout=DEADLINE)
    assert sorted(keys_of(sandbox.points())) == keys


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn-4-preload"])
def test_a_locked_outbox_does_not_delay_the_exit(name, serve, sandbox, outbox):
    """
    While another process keeps the outbox locked, a server ends in time, and the log has the point it could not store.
    """
    with serve(name, base_url=sandbox.url, environment=HANGING) as server:
        with closing(sqlite3.connect(outbox, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            key = server.convert()["idempotency_key"]
            assert server.stop()[1] < SHUTDOWN_TIMEOUT + 1
        assert [line for line in server.output.splitlines() if "remotion-usage-point" in line and key in line]


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn"])
def test_a_conversion_that_outlives_sigterm_is_registered(name, serve, sandbox, tmp_path):
    """
    A request in flight at SIGTERM ends in peace, and its point is registered before the server has ended.
    """
    with serve(name, base_url=sandbox.url, environment=PATIENT) as server, ThreadPoolExecutor(1) as client:
        call = client.submit(server.request, "POST", f"/convert-until-told?folder={tmp_path}")
        eventually((tmp_path / "converting").exists)
        with ThreadPoolExecutor(1) as operator:
            stop = operator.submit(server.stop)
            eventually(lambda: "Waiting for" in server.output or "Shutting down" in server.output)
            (tmp_path / "enough").touch()
            assert call.result()
            stop.result()
        assert len(sandbox.points()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_without_lifespan_leaves_its_points_to_the_next(number, serve, sandbox):
    """
    Where no shutdown hook runs, points that were not sent yet are registered once by the next server.
    """
    sandbox.set_failure("hang")
    with serve("uvicorn", base_url=sandbox.url, options=("--lifespan=off",), environment=HANGING) as server:
        keys = sorted(server.convert()["idempotency_key"] for _ in range(5))
        server.stop(number)
    sandbox.set_failure()
    with serve(
        "uvicorn", base_url=sandbox.url, options=("--lifespan=off",), environment={"HOURS_LATER": "1"}
    ) as server:
        # The threads start with the first point of a process.
        keys.append(server.convert()["idempotency_key"])
        sandbox.wait_for(points=6, timeout=DEADLINE)
    assert sorted(keys_of(sandbox.points())) == sorted(keys)


def converted_by_another(server, pid):
    """
    Return the answer of a worker other than *pid*, or `None`; a worker that ends may reset a connection.
    """
    with suppress(ConnectionError):
        answer = server.convert()
        return answer if answer["pid"] != pid else None
    return None


def test_a_reload_of_gunicorn_loses_nothing(serve, sandbox):
    """
    SIGHUP replaces the workers; the points of the old ones are registered once.
    """
    with serve("gunicorn", base_url=sandbox.url, environment=PATIENT) as server:
        old = [server.convert() for _ in range(5)]
        server.send(signal.SIGHUP)
        new = eventually(lambda: converted_by_another(server, old[0]["pid"]))
        sandbox.wait_for(requests=6, timeout=DEADLINE)
        server.stop()
        assert sandbox.requests == len(sandbox.points())
    assert {answer["idempotency_key"] for answer in [*old, new]} <= set(keys_of(sandbox.points()))

"""
Promise 1 and 2 while the licensing API misbehaves: requests do not notice, and no point is lost.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from remotion_licensing_integrations.operations import main
from remotion_licensing_integrations.points import make_fingerprint
from tests.processes.servers import DEADLINE, KEY, eventually

CALLS = 5
LATER = {"HOURS_LATER": "1"}


def keys_of(points):
    return sorted(point.idempotency_key for point in points)


def test_requests_do_not_wait_for_a_hanging_api(serve, sandbox):
    """
    Fifty requests are answered while the API holds the first call of the deliverer open, for minutes if it likes.
    """
    sandbox.set_failure("hang")
    minutes = {"REMOTION_LICENSING_TIMEOUT": "600", "REMOTION_LICENSING_LEASE": "1800"}
    with serve("uvicorn", base_url=sandbox.url, environment=minutes) as server, ThreadPoolExecutor(10) as clients:
        server.convert()
        sandbox.wait_for(requests=1, timeout=DEADLINE)
        answers = list(clients.map(lambda _: server.convert(), range(50)))
        assert len({answer["idempotency_key"] for answer in answers}) == 50
        assert sandbox.points() == []


@pytest.mark.parametrize("mode", ["500", "429", "reset", "html"])
def test_points_of_a_bad_hour_are_registered_after_it(mode, serve, sandbox):
    """
    While the API fails requests are answered; the next server registers their points, each once.
    """
    sandbox.set_failure(mode)
    with serve("uvicorn", base_url=sandbox.url) as server:
        keys = [server.convert()["idempotency_key"] for _ in range(CALLS)]
        sandbox.wait_for(requests=1, timeout=DEADLINE)
        keys.append(server.convert()["idempotency_key"])
        server.stop()
    sandbox.set_failure()
    with serve("uvicorn", base_url=sandbox.url, environment=LATER):
        sandbox.wait_for(points=CALLS + 1, timeout=DEADLINE)
    assert keys_of(sandbox.points()) == sorted(keys)


@pytest.mark.parametrize("mode", ["500", "reset", "html"])
def test_points_counted_without_an_answer_count_once(mode, serve, sandbox):
    """
    Points that the API counted before it failed are sent again with the same key.
    """
    sandbox.set_failure(mode, count_first=True)
    with serve("uvicorn", base_url=sandbox.url) as server:
        keys = sorted(server.convert()["idempotency_key"] for _ in range(CALLS))
        sandbox.wait_for(requests=1, timeout=DEADLINE)
        server.stop()
    sandbox.set_failure()
    with serve("uvicorn", base_url=sandbox.url, environment=LATER):
        eventually(lambda: len(sandbox.points()) == CALLS and any(point.repeats for point in sandbox.points()))
    assert keys_of(sandbox.points()) == keys


def test_a_throttled_server_goes_on_by_itself(serve, sandbox):
    """
    After the seconds that a 429 asks for, delivery resumes without a restart.
    """
    sandbox.set_failure("429", retry_after=1, first=1)
    with serve("uvicorn", base_url=sandbox.url) as server:
        keys = sorted(server.convert()["idempotency_key"] for _ in range(CALLS))
        sandbox.wait_for(points=CALLS, timeout=DEADLINE)
        assert sandbox.requests == CALLS + 1
    assert keys_of(sandbox.points()) == keys


def test_a_wrong_key_is_said_once(serve, sandbox):
    """
    A refused licence key is one line of the log, with what to do, however many points wait for it.
    """
    with serve("uvicorn", base_url=sandbox.url, environment={"REMOTION_LICENSE_KEY": "wrong"}) as server:
        for _ in range(CALLS):
            server.convert()
        eventually(
            lambda: (
                "the API refused the licence key; set the right one, then see `remotion-licensing status`"
                in server.output
            )
        )
        server.convert()
        server.stop()
        assert server.output.count("the API refused the licence key") == 1


def test_a_wrong_key_is_not_in_the_log(serve, sandbox):
    """
    The key itself is a secret, also when it is wrong.
    """
    with serve("uvicorn", base_url=sandbox.url, environment={"REMOTION_LICENSE_KEY": "rm_sec_misplaced"}) as server:
        server.convert()
        eventually(lambda: "the API refused the licence key" in server.output)
        assert "rm_sec_misplaced" not in server.output


def test_a_wrong_key_rejects_no_point(serve, sandbox, outbox, monkeypatch):
    """
    Points recorded with a wrong key are registered after a restart with the right one, which adopts them.
    """
    with serve("uvicorn", base_url=sandbox.url, environment={"REMOTION_LICENSE_KEY": "wrong"}) as server:
        keys = sorted(server.convert()["idempotency_key"] for _ in range(CALLS))
        eventually(lambda: "the API refused the licence key" in server.output)
        server.stop()
    monkeypatch.setenv("REMOTION_LICENSE_KEY", KEY)
    assert main(["--outbox", f"sqlite:///{outbox}", "retry", "--adopt", make_fingerprint("wrong")]) == 0
    with serve("uvicorn", base_url=sandbox.url):
        sandbox.wait_for(points=CALLS, timeout=DEADLINE)
    assert keys_of(sandbox.points()) == keys


def test_the_right_key_in_the_file_needs_no_restart(serve, sandbox, tmp_path):
    """
    Points recorded with a wrong key are registered as soon as its file has the right one.
    """
    file = tmp_path / "key"
    file.write_text("wrong")
    environment = {"REMOTION_LICENSE_KEY": "", "REMOTION_LICENSE_KEY_FILE": str(file)}
    with serve("uvicorn", base_url=sandbox.url, environment=environment) as server:
        keys = sorted(server.convert()["idempotency_key"] for _ in range(CALLS))
        eventually(lambda: "the API refused the licence key" in server.output)
        file.write_text(KEY)
        sandbox.wait_for(points=CALLS, timeout=DEADLINE)
    assert keys_of(sandbox.points()) == keys

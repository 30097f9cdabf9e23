"""
What stores that many machines share promise beyond the others, as one suite over all of them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from tests._server_outbox import connected, need_skip_locked, to_url
from tests.outbox._values import claim, keys, point, points
from tests.outbox.conftest import SERVERS, STORES


@pytest.fixture(params=SERVERS)
def name(request):
    return request.param


@pytest.fixture
def outbox(request, name):
    with STORES[name](request, None) as outbox:
        yield outbox


@pytest.fixture
def url(request, name, outbox):
    return to_url(request.getfixturevalue(SERVERS[name]))


def test_clock_is_the_servers(outbox, monkeypatch):
    """
    A machine whose clock is wrong claims neither too early nor too late.
    """
    monkeypatch.setattr("time.time", lambda: 0.0)
    outbox.add([point()])
    due = outbox.get("key").due
    [claimed] = claim(outbox, lease=60)
    lease = (outbox.get("key").due - due).total_seconds()
    monkeypatch.undo()

    assert abs((due - datetime.now(UTC)).total_seconds()) < 10
    assert claimed.point == point()
    assert 60 <= lease < 70


def test_points_of_one_call_are_due_together(outbox):
    """
    Points that are stored together are due at the same moment, and at once.
    """
    outbox.add(points(3))

    assert len({stored.due for stored in outbox.list()}) == 1
    assert outbox.next_due() == 0


def test_claim_passes_locked_points(outbox, url):
    """
    A point that another session holds locked is left out, not waited for.
    """
    need_skip_locked(url)
    outbox.add(points(3))
    lock = f"SELECT 1 FROM {outbox._connection.tables.points} WHERE idempotency_key = 'key-1' FOR UPDATE"
    with connected(url) as execute_there:
        execute_there("BEGIN")
        execute_there(lock)

        assert keys(claim(outbox)) == ["key-0", "key-2"]


def test_eight_threads_claim(outbox):
    """
    Eight threads that claim at once get every point, and each once.
    """
    outbox.add(points(400))

    def take(_):
        return [key for _ in range(60) for key in keys(claim(outbox, 5))]

    with ThreadPoolExecutor(8) as executor:
        taken = [key for keys_of_one in executor.map(take, range(8)) for key in keys_of_one]
    left = keys(claim(outbox, 400))
    assert sorted(taken + left) == sorted(each.idempotency_key for each in points(400))

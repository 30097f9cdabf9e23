"""
An app that is loaded once and then forked into workers.
"""

from __future__ import annotations

import pytest

from tests._server_outbox import emptied, to_url
from tests.processes.servers import DEADLINE, eventually

EARLY = {"RECORD_AT_IMPORT": "early"}


def answers_of_four(server):
    """
    Call until each of four workers has answered; return all answers.
    """
    answers = []
    eventually(lambda: answers.append(server.convert()) or len({answer["pid"] for answer in answers}) == 4)
    return answers


def test_loading_the_app_starts_no_thread(serve, sandbox):
    """
    The master that has imported the app has no thread of ours.
    """
    with serve("gunicorn-4-preload", base_url=sandbox.url) as server:
        assert server.call("/health", "GET")["threads_at_import"] == ["MainThread"]


def test_every_forked_worker_delivers(serve, sandbox):
    """
    Each of four workers registers its points once.
    """
    with serve("gunicorn-4-preload", base_url=sandbox.url) as server:
        keys = sorted(answer["idempotency_key"] for answer in answers_of_four(server))
        eventually(lambda: len(sandbox.points()) >= len(keys))
        assert sorted(sandbox.idempotency_keys()) == keys


def test_a_forked_worker_has_threads_of_its_own(serve, sandbox):
    """
    A worker runs a writer and a delivery thread, started after the fork.
    """
    with serve("gunicorn-4-preload", base_url=sandbox.url) as server:
        assert {"remotion-usage-writer", "remotion-usage-delivery"} <= set(server.call("/health", "GET")["threads"])


@pytest.mark.parametrize("name", ["gunicorn-preload", "gunicorn-4-preload"])
def test_a_point_recorded_before_the_fork_is_sent_once(name, serve, sandbox):
    """
    A point that the app records while it is imported is sent once, however many workers are forked.
    """
    with serve(name, base_url=sandbox.url, environment=EARLY) as server:
        sandbox.wait_for(points=1, timeout=DEADLINE)
        server.convert()
        sandbox.wait_for(points=2, timeout=DEADLINE)
        server.stop()
        assert sandbox.idempotency_keys().count("early") == 1


def test_forked_workers_share_a_database(serve, sandbox, request):
    """
    Workers forked from a master that has points in PostgreSQL already register their own, and each point is sent once.
    """
    with emptied(request, "postgresql", None):
        environment = {**EARLY, "REMOTION_LICENSING_OUTBOX": to_url(request.getfixturevalue("postgresql"))}
    with serve("gunicorn-4-preload", base_url=sandbox.url, environment=environment) as server:
        keys = [answer["idempotency_key"] for answer in answers_of_four(server)]
        eventually(lambda: len(sandbox.points()) == len(keys) + 1)
        assert sorted(sandbox.idempotency_keys()) == sorted([*keys, "early"])


@pytest.mark.parametrize("attempt", range(3))
def test_a_fork_during_the_first_delivery_leaves_workers_that_deliver(attempt, serve, sandbox):
    """
    Workers forked while the master loads its HTTP library register their own points, none hangs in that import.
    """
    with serve("gunicorn-4-preload", base_url=sandbox.url, environment=EARLY) as server:
        keys = [answer["idempotency_key"] for answer in answers_of_four(server)]
        eventually(lambda: len(sandbox.points()) == len(keys) + 1)
        assert sorted(sandbox.idempotency_keys()) == sorted([*keys, "early"])

"""
How many trips to the project's database the outbox takes, and what becomes of a connection that is lost on one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.recording.writer import MAX_BATCH
from tests._django import emptied
from tests.outbox._values import BATCH_CALLS, claim, keys, point, points


@pytest.fixture(params=["sqlite_alias", "postgresql_alias", "mariadb_alias"])
def outbox(request):
    with emptied(request, request.param, None) as outbox:
        outbox.add([point("earlier"), point("deferred", succeeded=None)])
        yield outbox


@pytest.fixture
def postgresql_outbox(request):
    with emptied(request, "postgresql_alias", None) as outbox:
        outbox.add([point("earlier")])
        yield outbox


@pytest.mark.parametrize("key", ["new", "earlier", "deferred"])
def test_one_statement(outbox, key):
    """
    A point takes one statement, whether it is new, known, or brings the outcome of a deferred one.
    """
    with CaptureQueriesContext(connections[outbox.alias]) as statements:
        outbox.add([point(key)])

    assert len(statements) == 1
    assert outbox.get(key).point.succeeded is True


@pytest.mark.parametrize("call", BATCH_CALLS)
def test_one_statement_for_a_batch(postgresql_outbox, call):
    """
    Every call takes one statement in PostgreSQL, for any number of points.
    """
    postgresql_outbox.add(points(50))
    postgresql_outbox.claimed = claim(postgresql_outbox, 25)
    with CaptureQueriesContext(connections[postgresql_outbox.alias]) as statements:
        BATCH_CALLS[call](postgresql_outbox)

    assert len(statements) == 1


@pytest.mark.parametrize("outbox", ["postgresql_alias", "mariadb_alias"], indirect=True)
def test_add_of_a_batch(outbox):
    """
    In a server so does to add as many points as are committed together.
    """
    with CaptureQueriesContext(connections[outbox.alias]) as statements:
        outbox.add(points(MAX_BATCH))

    assert len(statements) == 1


@pytest.mark.parametrize("outbox", ["postgresql_alias", "mariadb_alias"], indirect=True)
def test_update_of_a_batch(outbox):
    """
    So does an update of many, each in its own way.
    """
    outbox.add(points(50))
    changes = [each.reschedule(delay, f"error {delay}") for delay, each in enumerate(claim(outbox))]
    with CaptureQueriesContext(connections[outbox.alias]) as statements:
        outbox.update(changes)

    assert len(statements) == 1


def test_idle_claim(request):
    """
    In SQLite a claim that finds nothing only reads.
    """
    with (
        emptied(request, "sqlite_alias", None) as outbox,
        CaptureQueriesContext(connections[outbox.alias]) as statements,
    ):
        claim(outbox)

    assert [statement["sql"].split()[0] for statement in statements.captured_queries] == ["SELECT"]


def test_claim_takes_no_transaction(request):
    """
    In SQLite each statement of a claim is a transaction: one that has read before it writes can be refused.
    """
    with emptied(request, "sqlite_alias", None) as outbox:
        outbox.add(points(2))
        with CaptureQueriesContext(connections[outbox.alias]) as statements:
            claim(outbox)

    assert [statement["sql"].split()[0] for statement in statements.captured_queries] == ["SELECT", "UPDATE", "SELECT"]


def test_lost_race(request, monkeypatch):
    """
    In SQLite a point that another has claimed since it was found is left to it.
    """
    with emptied(request, "sqlite_alias", None) as outbox:
        outbox.add(points(2))
        change = outbox._connection.change

        def be_late(sql, values):
            monkeypatch.undo()
            claim(outbox, 1)
            return change(sql, values)

        monkeypatch.setattr(outbox._connection, "change", be_late)

        assert keys(claim(outbox)) == ["key-1"]


def end_session(outbox):
    """
    Have the server end the session of the calling thread.
    """
    connection = connections[outbox.alias]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()

    def end():
        with connections[outbox.alias].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        connections[outbox.alias].close()

    with ThreadPoolExecutor(1) as executor:
        executor.submit(end).result()


def test_ended_session(postgresql_outbox):
    """
    Points stored together that meet a connection which the server has ended come by a new one, and once.
    """
    end_session(postgresql_outbox)
    postgresql_outbox.add(points(2))

    assert keys(postgresql_outbox.list()) == ["key-1", "key-0", "earlier"]


def test_ended_session_in_a_transaction(postgresql_outbox):
    """
    A transaction that has lost its connection is not gone on with by another.
    """
    transaction_of_others = transaction.atomic(using=postgresql_outbox.alias)
    with pytest.raises(OutboxError, match="postgresql"), transaction_of_others:  # noqa: PT012 - what ends is inside
        end_session(postgresql_outbox)
        postgresql_outbox.add([point()])

    assert keys(postgresql_outbox.list()) == ["earlier"]


def test_server_that_is_gone(postgresql_outbox, monkeypatch):
    """
    When there is no new connection to be had, the error is one of the outbox's.
    """
    connection = connections[postgresql_outbox.alias]
    end_session(postgresql_outbox)
    monkeypatch.setitem(connection.settings_dict, "HOST", "/nowhere")
    with pytest.raises(OutboxError, match="/nowhere"):
        postgresql_outbox.add([point()])
    monkeypatch.undo()

    assert keys(postgresql_outbox.list()) == ["earlier"]

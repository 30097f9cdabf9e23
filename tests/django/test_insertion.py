"""
How usage points come into the project's database: in one trip to its server, and once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from remotion_licensing_integrations.errors import OutboxError
from tests._django import emptied
from tests.outbox._values import keys, point, points


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


def test_clock_of_many(outbox):
    """
    Points that are stored together are due at the same moment, and as soon as one that is stored alone.
    """
    outbox.add([point("alone")])
    outbox.add(points(3))
    due = [outbox.get(key).due for key in ("alone", "key-0", "key-2")]

    assert due[0] <= due[1] == due[2]
    assert outbox.next_due() == 0


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


def test_ended_session_elsewhere(postgresql_outbox):
    """
    Every other call renews a lost connection as well.
    """
    end_session(postgresql_outbox)

    assert keys(postgresql_outbox.list()) == ["earlier"]


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

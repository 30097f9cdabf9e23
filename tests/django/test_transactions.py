"""
Usage points and the project's own transactions.
"""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.test import Client, TestCase

from remotion_licensing_integrations.django import recorder as recorder_module
from remotion_licensing_integrations.django.models import UsagePointRecord
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from tests.django._kinds import CLIENTS, outcomes, request

KINDS = pytest.mark.parametrize("kind", CLIENTS)
COMMITTED = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["of a test run", "of production"])
def recorder(request, monkeypatch):
    """
    The recorder of a test run, which stores from the request's thread, and the one with a thread of its own.
    """
    if request.param == "of production":
        monkeypatch.setattr(recorder_module, "is_test_run", lambda: False)
        monkeypatch.setattr("remotion_licensing_integrations.recording.recorder.COMMIT_WAIT", 10)


@pytest.fixture
def atomic_requests(monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)  # noqa: FBT003 - as declared


@COMMITTED
def test_view_that_is_rolled_back(recorder, atomic_requests, client):
    """
    With ATOMIC_REQUESTS a failing view leaves nothing but its failed point.
    """
    client.post("/stored?crash")

    assert outcomes() == [False]
    assert not UsagePointRecord.objects.filter(idempotency_key="of-the-view").exists()


@COMMITTED
def test_view_that_is_committed(recorder, atomic_requests, client):
    """
    With ATOMIC_REQUESTS a view that succeeds leaves its rows and its point.
    """
    client.post("/stored")

    assert outcomes() == [True, True]


@COMMITTED
def test_commit_that_fails(recorder, atomic_requests, client):
    """
    A view whose commit is refused has failed, whatever it returned.
    """
    response = client.post("/orphan")

    assert (response.status_code, LogEntry.objects.count()) == (500, 0)
    assert outcomes() == [False]


@COMMITTED
@KINDS
def test_recorder_with_a_thread(kind, monkeypatch, caplog):
    """
    Outside of tests a thread of the recorder's stores the points, never the event loop.
    """
    monkeypatch.setattr(recorder_module, "is_test_run", lambda: False)
    monkeypatch.setattr("remotion_licensing_integrations.recording.recorder.COMMIT_WAIT", 10)
    request(kind, "post", "/async/200")

    assert recorder_module.get_recorder()._own_threads() is not None
    assert (outcomes(), caplog.records) == ([True], [])


@COMMITTED
@KINDS
def test_inline_delivery(kind, monkeypatch, settings):
    """
    With delivery "inline" what is due is delivered when the server closes the response.
    """
    delivered = []

    def deliver(recorder, timeout):
        delivered.append(timeout)
        raise RuntimeError

    settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, "DELIVERY": "inline", "TIMEOUT": 3}
    monkeypatch.setattr(UsageRecorder, "deliver", deliver)
    request(kind, "post", "/plain")
    request(kind, "post", "/sync/200")

    assert (delivered, outcomes()) == ([3], [True])


class TestIsolation(TestCase):
    """
    Two tests that each find an empty outbox, though each records a point.
    """

    def _check(self):
        before = outcomes()
        Client().post("/sync/200")
        assert (before, outcomes()) == ([], [True])

    def test_one(self):
        """
        What a test records is there for this test.
        """
        self._check()

    def test_other(self):
        """
        And gone for the next, since it was rolled back with the test's transaction.
        """
        self._check()


@pytest.mark.django_db
def test_refused_point_leaves_the_transaction(client, monkeypatch, caplog):
    """
    A point that the database refuses goes to the log, and the test's transaction goes on.
    """
    monkeypatch.setattr(UsagePointRecord._meta, "db_table", "gone")
    client.post("/sync/200")
    monkeypatch.undo()

    assert "point_logged" in [getattr(record, "action", None) for record in caplog.records]
    assert outcomes() == []


def test_without_a_database(client, caplog, django_db_blocker):
    """
    A test that may not use the database gets its response, and the point goes to the log.
    """
    with django_db_blocker.block():
        assert client.post("/sync/200").status_code == 200

    assert "point_logged" in [getattr(record, "action", None) for record in caplog.records]

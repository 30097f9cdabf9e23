"""
Tables of earlier versions become those of this one, with their rows.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from remotion_licensing_integrations.django.outbox import DjangoOutbox
from remotion_licensing_integrations.outbox import State
from remotion_licensing_integrations.points.point import Registration
from tests._django import add_database
from tests.outbox._values import START, claim, keys, moment, point

APP = "remotion_licensing"
NAME = "remotion_old"
FIRST = "0001_initial"

#: A row of each state that there was from the start; what is not said is as in a new row.
ROWS = {
    "pending": {},
    "sent": {"attempts": 2, "token": "0123456789abcdef", "unanswered_since": START, "last_error": "timeout"},
    "registered": {"state": "registered", "attempts": 1, "billable": True, "classification": "billable"},
    "rejected": {"state": "rejected", "attempts": 1, "last_error": "400"},
    "held": {"state": "held", "attempts": 9, "unanswered_since": START, "last_error": "who knows"},
}


@contextmanager
def new_database(alias):
    """
    Have one more database on the server of *alias*.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {NAME}")
    try:
        yield {**connections.settings[alias], "NAME": NAME}
    finally:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"DROP DATABASE {NAME}")
        connections[alias].close()


@contextmanager
def new_file(folder):
    """
    Have one more SQLite file.
    """
    yield {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "old.sqlite3"}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def old(request, tmp_path, django_db_setup, django_db_blocker):
    """
    The outbox of a database that the first version has made, with its rows.
    """
    is_file = request.param == "sqlite"
    server = None if is_file else request.getfixturevalue(f"{request.param}_alias")
    with (
        django_db_blocker.unblock(),
        new_file(tmp_path) if is_file else new_database(server) as entry,
        add_database("old", entry, migrated=False) as alias,
    ):
        call_command("migrate", APP, FIRST, database=alias, verbosity=0)
        state = MigrationExecutor(connections[alias]).loader.project_state((APP, FIRST))
        table = state.apps.get_model(APP, "UsagePointRecord").objects.using(alias)
        given = {"event": "cloud-render", "succeeded": True, "is_still": False, "is_production": True}
        for key, row in ROWS.items():
            table.create(idempotency_key=key, occurred_at=moment(), due=START, **given, **row)
        yield DjangoOutbox(alias, clock=lambda: START)


def test_rows_of_the_first_version_are_kept(old):
    """
    Each row is the point that it was, in its state and with its answer.
    """
    call_command("migrate", database=old.alias, verbosity=0)
    found = {stored.point.idempotency_key: stored for stored in old.list()}

    assert {key: stored.point for key, stored in found.items()} == {key: point(key) for key in ROWS}
    assert {key: stored.state for key, stored in found.items()} == {
        key: State(row.get("state", "pending")) for key, row in ROWS.items()
    }
    assert found["registered"].registration == Registration(billable=True, classification="billable")
    assert (found["held"].attempts, found["held"].unanswered_since) == (9, moment())


def test_rows_of_the_first_version_are_delivered(old):
    """
    What was pending is claimed, and what was under way as unanswered.
    """
    call_command("migrate", database=old.alias, verbosity=0)
    claimed = claim(old)

    assert keys(claimed) == ["pending", "sent"]
    assert [(each.attempts, each.unanswered_since) for each in claimed] == [(1, None), (3, moment())]

"""
The outbox in a Django project's database, beyond what every outbox promises.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction

from remotion_licensing_integrations.django.models import DailyTotalRecord, PauseRecord, UsagePointRecord
from remotion_licensing_integrations.django.outbox import DjangoOutbox
from remotion_licensing_integrations.django.recorder import get_recorder
from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import Settings
from tests._django import add_database, emptied
from tests.outbox._values import CALLS, claim, keys, moment, point
from tests.processes.servers import eventually

SQLITE = {"ENGINE": "django.db.backends.sqlite3"}


SERVERS = ["postgresql_alias", "mariadb_alias"]


@pytest.fixture(params=["sqlite_alias", *SERVERS])
def outbox(request):
    with emptied(request, request.param, None) as outbox:
        yield outbox


@pytest.fixture(params=SERVERS)
def server_outbox(request):
    with emptied(request, request.param, None) as outbox:
        yield outbox


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def unmigrated(request, tmp_path, django_db_blocker, django_db_setup):
    """
    An outbox in a database without our table.
    """
    entry = {**SQLITE, "NAME": tmp_path / "empty.sqlite3"}
    # Databases that each server has from the start.
    system = {"postgresql": "template1", "mariadb": "mysql"}.get(request.param)
    if system:
        entry = {**request.getfixturevalue(request.param), "NAME": system}
    with django_db_blocker.unblock(), add_database("unmigrated", entry, migrated=False) as alias:
        yield DjangoOutbox(alias)


# Not MariaDB, whose driver leaves a socket open when it cannot connect.
@pytest.fixture(params=["sqlite", "postgresql"])
def unreachable(request, tmp_path, django_db_blocker, django_db_setup):
    """
    An outbox in a database that cannot be connected to.
    """
    entry = {**SQLITE, "NAME": tmp_path / "nowhere" / "file"}
    if request.param == "postgresql":
        entry = {**request.getfixturevalue("postgresql"), "HOST": str(tmp_path)}
    with django_db_blocker.unblock(), add_database("away", entry, migrated=False) as alias:
        yield DjangoOutbox(alias)


#: Statements that find the other sessions of a server, and that end one of them.
SESSIONS = {
    "postgresql": (
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        "SELECT pg_terminate_backend(%s)",
    ),
    "mysql": ("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = 'root'", "KILL %s"),
}


def end_sessions(alias):
    """
    End every session of the server, the caller's included.
    """
    with ThreadPoolExecutor(1) as executor:
        executor.submit(_end_other_sessions, alias).result()


def _end_other_sessions(alias):
    find, end = SESSIONS[connections[alias].vendor]
    with connections[alias].cursor() as cursor:

        def all_ended():
            cursor.execute(find)
            for session in cursor.fetchall():
                with suppress(DatabaseError):  # it has ended meanwhile
                    cursor.execute(end, session)
            cursor.execute(find)
            return not cursor.fetchall()

        eventually(all_ended)
    connections[alias].close()


@pytest.mark.parametrize("call", CALLS)
def test_call_after_the_session_has_ended(server_outbox, call):
    """
    After the server has ended the sessions each call has a new one, and succeeds.
    """
    server_outbox.add([point("before")])
    end_sessions(server_outbox.alias)
    CALLS[call](server_outbox)

    assert "before" in keys(server_outbox.list())


def test_settle_after_the_session_has_ended(server_outbox):
    """
    An answer that came while the session ended is stored with the next one.
    """
    server_outbox.add([point()])
    [claimed] = claim(server_outbox)
    end_sessions(server_outbox.alias)

    assert server_outbox.update([claimed.reject("no")]) == 1


def open_connections(outbox):
    """
    Return the connections that threads have to the outbox's database, those that are open.
    """
    return [one.connection for one in outbox._connection._used.values() if one.connection is not None]


def test_recorder_leaves_no_connection(outbox):
    """
    When a recorder has stopped, the connections of its threads are closed.
    """
    settings = Settings(license_key="rm_pub_test", base_url="http://127.0.0.1:9", delivery="external")
    recorder = UsageRecorder(settings, outbox=outbox)
    recorder.record(point(), wait=10)
    during = len(open_connections(outbox))
    recorder.stop(10)

    assert (during, len(open_connections(outbox))) == (1, 0)
    assert keys(outbox.list()) == ["key"]


def test_sessions_of_running_threads_stay(outbox):
    """
    To close the outbox takes no connection from a thread that runs.
    """
    outbox.add([point()])
    outbox.close()

    assert connections[outbox.alias].connection is not None


def test_connections_of_the_parent_stay(outbox, monkeypatch):
    """
    A forked child closes none of its parent's connections; the parent does when their threads have ended.
    """
    with ThreadPoolExecutor(1) as executor:
        executor.submit(outbox.add, [point()]).result()
    with monkeypatch.context() as child:
        child.setattr("os.getpid", lambda: -1)
        outbox.close()
        in_child = len(open_connections(outbox))
    outbox.close()

    assert (in_child, len(open_connections(outbox))) == (1, 0)


def test_missing_table(unmigrated):
    """
    Without the table the error says which database it is and what to do.
    """
    with pytest.raises(OutboxError, match=r"database 'unmigrated': .*; did you run `manage.py migrate`\?"):
        unmigrated.open()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_unreachable_database(unreachable, call):
    """
    Where there is no connection to be had, every verb raises the outbox's own error.
    """
    with pytest.raises(OutboxError, match="database 'away': "):
        call(unreachable)


def test_refusal_inside_a_transaction(unmigrated):
    """
    A point that is refused does not spoil the transaction around it.
    """
    with transaction.atomic(using=unmigrated.alias):
        with pytest.raises(OutboxError):
            unmigrated.add([point()])
        with connections[unmigrated.alias].cursor() as cursor:
            cursor.execute("SELECT 1")
            found = cursor.fetchone()

    assert found == (1,)


def test_database_of_another_kind(outbox, monkeypatch):
    """
    A database of a kind that the outbox does not know is refused, and the error names those it knows.
    """
    monkeypatch.setattr(connections[outbox.alias], "vendor", "oracle")

    with pytest.raises(OutboxError, match=r"SQLite, PostgreSQL, or MySQL or MariaDB.* another store in OUTBOX"):
        outbox.add([point()])


class Router:
    """
    Sends every write to one database.
    """

    def db_for_write(self, model, **hints):
        """
        Return its alias.
        """
        return "outbox_sqlite"


def test_routers_choose_the_database(request, settings):
    """
    Without `DATABASE` the project's routers say where the points are.
    """
    with emptied(request, "sqlite_alias", None) as outbox:
        settings.DATABASE_ROUTERS = [f"{__name__}.Router"]
        DjangoOutbox().add([point()])

        assert keys(outbox.list()) == ["key"]


def test_setting_chooses_the_database(request, settings):
    """
    `DATABASE` names the database whatever the routers say.
    """
    with emptied(request, "sqlite_alias", None) as outbox:
        settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, "DATABASE": "outbox_sqlite"}
        get_recorder().record(point())

        assert keys(outbox.list()) == ["key"]
        assert repr(get_recorder().outbox) == "DjangoOutbox('outbox_sqlite')"


@pytest.mark.parametrize("zone", ["UTC", "America/Chicago"])
def test_project_without_time_zones(outbox, settings, zone):
    """
    With USE_TZ off moments come back as they were.
    """
    settings.USE_TZ = False
    settings.TIME_ZONE = zone
    added = point(occurred_at=moment(0.25))
    outbox.add([added])

    assert (outbox.get("key").point, outbox.counts().oldest_pending) == (added, moment(0.25))


def test_records_name_themselves():
    """
    Whoever meets a record in a shell or a log sees what it is.
    """
    total = DailyTotalRecord(day=20_484, event="cloud-render", number=3)

    assert [str(PauseRecord(deliverer="a", reason="HTTP 503")), str(total)] == [
        "a: HTTP 503",
        "2026-01-31 cloud-render: 3",
    ]


def test_migrations_are_complete(db):
    """
    The models have no change that a migration lacks.
    """
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_no_room_for_the_licence_key():
    """
    The table has no column that a licence key could be in.
    """
    assert {field.name for field in UsagePointRecord._meta.fields} == {
        *("id", "idempotency_key", "event", "host", "succeeded", "is_still", "is_production", "occurred_at"),
        *("state", "due", "attempts", "token", "unanswered_since", "last_error", "billable", "classification"),
        *("label", "key_fingerprint"),
    }

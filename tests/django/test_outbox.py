"""
The outbox in a Django project's database, beyond what every outbox promises.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction

from remotion_licensing_integrations.django.models import UsagePointRecord
from remotion_licensing_integrations.django.outbox import DjangoOutbox
from remotion_licensing_integrations.django.recorder import get_recorder
from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import State
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import Settings
from tests._django import add_database, emptied
from tests.outbox._values import claim, keys, moment, point, points
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


def test_clock_is_the_database_servers(server_outbox, monkeypatch):
    """
    With a database server, a machine whose clock is wrong claims neither too early nor too late.
    """
    monkeypatch.setattr("remotion_licensing_integrations.django.outbox.time.time", lambda: 0.0)
    server_outbox.add([point()])

    assert server_outbox.get("key").due.year >= 2024
    assert keys(claim(server_outbox)) == ["key"]


def test_claim_passes_locked_points(server_outbox):
    """
    A point that another session holds locked is left out, not waited for.
    """
    server_outbox.add(points(2))
    alias = server_outbox.alias
    with ThreadPoolExecutor(1) as executor, transaction.atomic(using=alias):
        UsagePointRecord.objects.using(alias).select_for_update().get(idempotency_key="key-0")
        claimed = executor.submit(claim, server_outbox).result(timeout=10)

    assert keys(claimed) == ["key-1"]


def test_eight_threads_claim(server_outbox):
    """
    Eight threads that claim from a server at once get every point, and each once.
    """
    server_outbox.add(points(400))

    def take(_):
        return [key for _ in range(100) for key in keys(claim(server_outbox, 5))]

    with ThreadPoolExecutor(8) as executor:
        taken = [key for found in executor.map(take, range(8)) for key in found]
    assert sorted(taken) == sorted(each.idempotency_key for each in points(400))


def test_ended_session(server_outbox):
    """
    After the server has ended the sessions the next call has a new one, and succeeds.
    """
    server_outbox.add([point("before")])
    end_sessions(server_outbox.alias)
    server_outbox.add([point("after")])

    assert keys(server_outbox.list()) == ["after", "before"]


def test_session_that_ends_in_a_call(server_outbox):
    """
    A session that ends in the midst of a call is an error of the outbox, and the next call succeeds.
    """
    alias = server_outbox.alias
    with pytest.raises(OutboxError, match=alias), server_outbox._session():  # noqa: PT012 - what ends is inside
        connections[alias].ensure_connection()
        end_sessions(alias)
        server_outbox._rows.count()
    server_outbox.add([point()])

    assert keys(server_outbox.list()) == ["key"]


def open_connections(outbox):
    """
    Return the connections that threads have to the outbox's database, those that are open.
    """
    return [one.connection for one in outbox._used.values() if one.connection is not None]


def test_recorder_leaves_no_connection(outbox):
    """
    When a recorder has stopped, the connections of its threads are closed.
    """
    settings = Settings(license_key="rm_pub_test", base_url="http://127.0.0.1:9", delivery="external")
    recorder = UsageRecorder(settings, outbox=outbox)
    recorder.record(point())
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
    with pytest.raises(OutboxError, match=r"database 'unmigrated': .*; has `manage.py migrate` run\?"):
        unmigrated.open()


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


@pytest.fixture
def unreadable(outbox):
    """
    An outbox with three points, the second of them of a version to come.
    """
    outbox.add(points(3))
    UsagePointRecord.objects.using(outbox.alias).filter(idempotency_key="key-1").update(event="render-of-tomorrow")
    return outbox


def test_unreadable_row_is_rejected(unreadable):
    """
    A row that is no usage point does not stop the others, and stays visible as rejected.
    """
    claimed = keys(claim(unreadable))
    record = UsagePointRecord.objects.using(unreadable.alias).get(idempotency_key="key-1")

    assert claimed == ["key-0", "key-2"]
    assert (record.state, record.token, record.last_error[:15]) == (State.REJECTED, None, "cannot be read:")


def test_unreadable_row_in_a_list(unreadable, caplog):
    """
    A list leaves out what it cannot show, and says so in the log.
    """
    assert keys(unreadable.list()) == ["key-2", "key-0"]
    assert [record.action for record in caplog.records] == ["point_unreadable"]


def test_unreadable_row_by_key(unreadable):
    """
    Asked for by its key, an unreadable row is an error, not a missing point.
    """
    with pytest.raises(OutboxError, match="usage point key-1 cannot be read"):
        unreadable.get("key-1")


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
    }

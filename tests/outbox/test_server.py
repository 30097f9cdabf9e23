"""
The outbox in a database server, beyond what every outbox promises.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import State, open_outbox, server
from remotion_licensing_integrations.outbox.connection import CursorSession
from remotion_licensing_integrations.points.point import Registration
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import Settings as AppSettings
from remotion_licensing_integrations.testing import Sandbox
from tests._server_outbox import emptied, empty, execute, need_skip_locked, new_databases, to_url
from tests.outbox import _programs
from tests.outbox._values import BATCH_CALLS, DAY, claim, keys, point, points
from tests.processes.servers import eventually

OWN_SESSION = "SELECT pg_backend_pid()"


@pytest.fixture(params=["postgresql", "mariadb"])
def outbox(request):
    with emptied(request, request.param, None) as outbox:
        yield outbox


@pytest.fixture
def postgresql_outbox(request):
    with emptied(request, "postgresql", None) as outbox:
        yield outbox


@pytest.fixture
def url(request, outbox):
    return to_url(request.getfixturevalue("mariadb" if "mysql" in repr(outbox) else "postgresql"))


@pytest.fixture
def sent(monkeypatch):
    """
    Collect the statements that outboxes send.
    """
    statements = []

    class NotedSession(CursorSession):
        def rows(self, sql, values):
            statements.append(sql)
            return super().rows(sql, values)

        def change(self, sql, values):
            statements.append(sql)
            return super().change(sql, values)

    monkeypatch.setattr(server, "CursorSession", NotedSession)
    return statements


def test_claim_locks_what_it_takes(url, outbox):
    """
    While a claim is not committed, others get the points that it has left.
    """
    need_skip_locked(url)
    outbox.add(points(3))
    values = {"size": 1, "lease": 60, "token": "first"}

    class Claimer:
        """
        Claims within a transaction of the test's.
        """

        def __init__(self, session):
            self.rows = session.rows
            self.transact = lambda work: work(session)

    def claim_twice(session):
        outbox._statements.claim(Claimer(session), [""], values)
        with closing(open_outbox(url)) as another:
            return keys(claim(another))

    assert outbox._server.transact(claim_twice) == ["key-1", "key-2"]


def test_eight_processes_claim(url, outbox):
    """
    Eight processes that claim at once get every point, and each once.
    """
    outbox.add(points(500))
    *taken, failed = _programs.run("claim_at_once", url, 8)

    assert failed == 0
    assert sorted(key for each in taken for key in each) == sorted(each.idempotency_key for each in points(500))


def test_many_writers_and_a_claimer(url, outbox):
    """
    What four processes add, a fifth claims: every point, and each once.
    """
    taken, failed = _programs.run("add_and_claim", url, 4, 50)

    assert failed == 0
    assert sorted(taken) == sorted(f"{writer}-{index}" for writer in range(4) for index in range(50))


def test_threads_share_two_sessions(postgresql_outbox):
    """
    However many threads use an outbox, a process has two sessions at the most.
    """
    seen = []

    def work(number):
        postgresql_outbox.add(points(20, f"{number}"))
        seen.extend(execute(postgresql_outbox, OWN_SESSION))

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))
    assert len(seen) == 8
    assert len({*seen}) <= 2
    assert postgresql_outbox.counts().pending == 160


def test_close_ends_the_sessions(request, postgresql_outbox):
    """
    A closed outbox has no session at the server.
    """
    [(session,)] = execute(postgresql_outbox, OWN_SESSION)
    postgresql_outbox.close()

    wait_for_end(request, session)


def test_close_in_the_midst_of_a_call(request, postgresql_outbox):
    """
    An outbox that is closed while a call goes on has no session when that has ended.
    """

    def work(session):
        postgresql_outbox.close()
        return session.rows(OWN_SESSION, {})

    [(session,)] = postgresql_outbox._server.transact(work)

    wait_for_end(request, session)


def wait_for_end(request, session):
    """
    Wait until a session is gone; the server notices a closed connection by itself.
    """
    with closing(open_outbox(to_url(request.getfixturevalue("postgresql")))) as other:
        gone = f"SELECT COUNT(*) = 0 FROM pg_stat_activity WHERE pid = {session}"
        assert eventually(lambda: execute(other, gone) == [(True,)])


def test_old_connections_are_replaced(postgresql_outbox, monkeypatch):
    """
    A connection that has been idle for long, so that a proxy may have forgotten it, is closed and not used.
    """
    session = "SELECT pg_backend_pid()"
    before = execute(postgresql_outbox, session)
    again = execute(postgresql_outbox, session)
    monkeypatch.setattr(server, "_RECYCLE", 0.0)

    assert before == again != execute(postgresql_outbox, session)


def test_all_connections_are_busy(postgresql_outbox, monkeypatch):
    """
    A call that gets no connection in time is an error that says so.
    """
    monkeypatch.setattr(server, "MAX_SILENCE", 0.01)

    def use_the_second(_):
        postgresql_outbox._server.transact(use_a_third)

    def use_a_third(_):
        postgresql_outbox.next_due()

    with pytest.raises(OutboxError, match="its 2 connections have been busy"):
        postgresql_outbox._server.transact(use_the_second)


@pytest.mark.parametrize(("option", "prepared"), [({}, False), ({"prepare_threshold": "5"}, True)])
def test_statements_are_prepared_when_told(postgresql, option, prepared):
    """
    Nothing is prepared in a session that may be a proxy's, unless the URL says so.
    """
    with closing(open_outbox(to_url(postgresql, **option))) as outbox:
        for _ in range(10):
            outbox.next_due()

        assert (execute(outbox, "SELECT COUNT(*) FROM pg_prepared_statements") > [(0,)]) is prepared


@pytest.mark.parametrize("number", [1, 256])
def test_add_is_one_statement(postgresql_outbox, number, sent):
    """
    Points are committed in one round trip to PostgreSQL, however many there are.
    """
    postgresql_outbox.open()
    sent.clear()
    postgresql_outbox.add(points(number))

    assert len(sent) == 1
    assert postgresql_outbox.counts().pending == number


@pytest.mark.parametrize("call", BATCH_CALLS)
def test_one_statement(postgresql_outbox, call, sent):
    """
    Every other call takes one round trip to PostgreSQL, too.
    """
    postgresql_outbox.add(points(50))
    postgresql_outbox.claimed = claim(postgresql_outbox, 25)
    sent.clear()
    BATCH_CALLS[call](postgresql_outbox)

    assert len(sent) == 1


def plan(outbox, statement, **values):
    """
    Return how the server would run a statement of the outbox.
    """
    return "\n".join(row[0] for row in execute(outbox, f"EXPLAIN {statement}", values))


@pytest.fixture
def full(postgresql_outbox):
    """
    An outbox with 100,000 points, most of them registered.
    """
    columns = "idempotency_key, event, is_still, is_production, occurred_at, state, due, attempts, key_fingerprint"
    state = "CASE WHEN MOD(n, 10) = 0 THEN 'pending' ELSE 'registered' END"
    filled = f"SELECT n, 'web-render', false, true, n, {state}, n, 0, 'a' FROM generate_series(1, 100000) AS n"
    execute(postgresql_outbox, f"INSERT INTO remotion_usage_point ({columns}) {filled}")
    execute(postgresql_outbox, "ANALYZE remotion_usage_point")
    return postgresql_outbox


def test_claim_uses_the_index(full):
    """
    Points are claimed by the index of pending ones, and written by their numbers; no table is sorted or read through.
    """
    wanted = {"fingerprint_0": "a", "fingerprint_1": "b"}
    found = plan(full, full._statements.claiming(2), size=100, lease=60, token="t", **wanted)

    assert found.count("Index Scan using remotion_usage_point_due") == 4
    assert "Index Scan using remotion_usage_point_pkey" in found
    assert "Seq Scan" not in found
    assert found.count("Sort Key") == 1
    assert "Sort Key: due_0.due, due_0.id" in found


def test_next_due_uses_the_index(full):
    """
    Whether something is due is seen at the ends of the index.
    """
    found = plan(full, full._statements.next_due, fingerprint="a")

    assert found.count("using remotion_usage_point_due") == 2
    assert "Seq Scan" not in found


def test_write_looks_rows_up(full):
    """
    What became of claimed points is written by their numbers, also when the server takes few points for pending.
    """
    execute(full, "UPDATE remotion_usage_point SET state = 'registered' WHERE id > 10")
    execute(full, "ANALYZE remotion_usage_point")
    found = plan(full, full._statements.update, rows='[{"id": 1}]')

    assert "Index Scan using remotion_usage_point_pkey" in found
    assert "Seq Scan" not in found


def test_prune_in_steps(outbox, sent):
    """
    Old points are deleted a thousand at a time, so that no step keeps many rows locked.
    """
    outbox.add(points(2500))
    outbox.update(
        [claimed.register(Registration(billable=True, classification=None)) for claimed in claim(outbox, 2500)]
    )
    sent.clear()

    assert outbox.prune(-DAY) == 2500
    assert len(sent) == {"postgresql": 4, "mysql": 18}[outbox._connection.database]
    assert outbox.list() == []


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("5.7.44-log", "this MySQL is too old, 8.0.11 or newer is needed"),
        ("8.0.4-rc", "this MySQL is too old, 8.0.11 or newer is needed"),
        ("5.5.5-10.4.34-MariaDB", "this MariaDB is too old, 10.5 or newer is needed"),
    ],
)
def test_old_server(mariadb, monkeypatch, version, message):
    """
    A server that is too old is refused before anything is made.
    """
    monkeypatch.setattr("pymysql.connections.Connection.get_server_info", lambda _: version)
    with closing(open_outbox(to_url(mariadb))) as outbox, pytest.raises(OutboxError, match=message):
        outbox.open()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_database_that_cannot_hold_every_text(postgresql, encoding):
    """
    A database in another encoding than UTF-8 is refused before anything is made: one label could block all points.
    """
    options = f"ENCODING '{encoding}' TEMPLATE template0"
    with new_databases(postgresql, options=options) as [url], closing(open_outbox(url)) as outbox:
        with pytest.raises(OutboxError, match=f"the database has the encoding {encoding}, and UTF8 is needed"):
            outbox.open()
        assert not outbox.exists()
        outbox.close()


def test_encoding_of_the_environment(postgresql, monkeypatch):
    """
    A `PGCLIENTENCODING` that is meant for another program changes no text.
    """
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    with closing(open_outbox(to_url(postgresql))) as outbox:
        empty(outbox)
        outbox.add([point(label="日本")])

        assert [claimed.point.label for claimed in claim(outbox, 1)] == ["日本"]


def test_password_is_hidden_in_errors(postgresql):
    """
    An error tells the password nowhere, even where the server repeats it.
    """
    url = to_url(postgresql, "secret").replace("@", ":secret@")
    with closing(open_outbox(url)) as outbox, pytest.raises(OutboxError) as caught:
        outbox.open()

    told = str(caught.value)
    assert told.startswith("outbox postgresql+psycopg://remotion:***@/secret?")
    assert told.endswith('FATAL: database "***" does not exist')


def test_recorder(url, outbox):
    """
    An app that names the database in its settings has its points there, and from there they are registered.
    """
    with Sandbox() as sandbox:
        settings = AppSettings(license_key="rm_pub_test", base_url=sandbox.url, outbox=url, delivery="external")
        recorder = UsageRecorder(settings)
        assert recorder.record(point())
        assert recorder.deliver(10) == 1
        recorder.stop()

        assert sandbox.idempotency_keys() == ["key"]
        assert outbox.get("key").state is State.REGISTERED


def test_worker(url, outbox):
    """
    Points that one process records are delivered by the worker of another.
    """
    with Sandbox() as sandbox:
        settings = AppSettings(license_key="rm_pub_test", base_url=sandbox.url, outbox=url)
        outbox.add([point()])
        recorder = UsageRecorder(settings)
        recorder.start()
        sandbox.wait_for(points=1, timeout=10)
        recorder.stop()

        assert outbox.get("key").state is State.REGISTERED

"""
The outbox in a database server, beyond what every outbox promises.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import State, open_outbox
from remotion_licensing_integrations.points.point import Registration
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import Settings as AppSettings
from remotion_licensing_integrations.testing import Sandbox
from tests._sqlalchemy import emptied, execute, to_url
from tests.outbox import _programs, test_model
from tests.outbox._values import DAY, bring, claim, keys, point, points

sqlalchemy = pytest.importorskip("sqlalchemy")

from remotion_licensing_integrations.outbox.sqlalchemy import SQLAlchemyOutbox  # noqa: E402 - an extra

SESSIONS = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'remotion-licensing'"


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


@contextmanager
def locked(url, key):
    """
    Have another session that holds the row of a key locked.
    """
    engine = sqlalchemy.create_engine(url)
    lock = "SELECT 1 FROM remotion_usage_point WHERE idempotency_key = :key FOR UPDATE"
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(lock), {"key": key})
        yield
    engine.dispose()


@contextmanager
def counted(outbox):
    """
    Count the statements that the outbox sends.
    """
    sent = []

    def note(_connection, _cursor, statement, *_others):
        sent.append(statement)

    engine = outbox._server._engine()
    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    yield sent
    sqlalchemy.event.remove(engine, "before_cursor_execute", note)


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


def test_claim_passes_locked_points(outbox, url):
    """
    A point that another session holds locked is left out, not waited for.
    """
    outbox.add(points(3))
    with locked(url, "key-1"):
        assert keys(claim(outbox)) == ["key-0", "key-2"]


def test_claim_locks_what_it_takes(url, outbox):
    """
    While a claim is not committed, others get the points that it has left.
    """
    outbox.add(points(3))
    values = {"size": 1, "lease": 60, "claim_token": "first"}

    def claim_twice(connection):
        outbox._dialect.claim(connection, values)
        with closing(open_outbox(url)) as another:
            return keys(claim(another))

    assert outbox._server.run(claim_twice) == ["key-1", "key-2"]


def test_eight_processes_claim(url, outbox):
    """
    Eight processes that claim at once get every point, and each once.
    """
    outbox.add(points(500))
    *taken, failed = _programs.run("claim_at_once", url, 8)

    assert failed == 0
    assert sorted(key for each in taken for key in each) == sorted(each.idempotency_key for each in points(500))


def test_eight_sessions_claim(url, outbox):
    """
    Eight outboxes of one process that claim at once get every point, and each once.
    """
    outbox.add(points(400))

    def take(_):
        with closing(open_outbox(url)) as another:
            return [key for _ in range(60) for key in keys(claim(another, 5))]

    with ThreadPoolExecutor(8) as executor:
        taken = [key for found in executor.map(take, range(8)) for key in found]
    left = keys(claim(outbox, 400))
    assert sorted(taken + left) == sorted(each.idempotency_key for each in points(400))


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
        seen.extend(execute(postgresql_outbox, SESSIONS))

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))
    assert len(seen) == 8
    assert max(seen) <= (2,)
    assert postgresql_outbox.counts().pending == 160


def test_close_ends_the_sessions(request, postgresql_outbox):
    """
    A closed outbox has no session at the server.
    """
    with closing(open_outbox(to_url(request.getfixturevalue("postgresql")))) as other:
        other.add([point()])
        postgresql_outbox.close()
        other.close()
        postgresql_outbox.open()

        assert execute(postgresql_outbox, SESSIONS) == [(1,)]


def test_close_in_the_midst_of_a_call(request, postgresql_outbox):
    """
    An outbox that is closed while a call goes on has no session when that has ended.
    """
    postgresql_outbox._server.run(lambda _: postgresql_outbox.close())
    with closing(open_outbox(to_url(request.getfixturevalue("postgresql")))) as other:
        assert execute(other, SESSIONS) == [(1,)]


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
def test_add_is_one_statement(postgresql_outbox, number):
    """
    Points are committed in one round trip to PostgreSQL, however many there are.
    """
    postgresql_outbox.open()
    with counted(postgresql_outbox) as sent:
        postgresql_outbox.add(points(number))

    assert len(sent) == 1
    assert postgresql_outbox.counts().pending == number


def test_claim_and_write_are_one_statement_each(postgresql_outbox):
    """
    To claim points and to write what became of them takes one round trip each.
    """
    postgresql_outbox.add(points(50))
    with counted(postgresql_outbox) as sent:
        assert postgresql_outbox.settle([claimed.release() for claimed in claim(postgresql_outbox)]) == 50

    assert len(sent) == 2


@pytest.mark.parametrize(
    "text", ["\"double\" 'single'", "back\\slash \\n", "100 % :key %s %(key)s", "🎬 \x7f\t\r\n", "null"]
)
def test_texts_stay_as_they_are(outbox, text):
    """
    Nothing that a text may hold is read as part of a statement.
    """
    host = "".join(character for character in text if character.isprintable())
    outbox.add([point("a", host=host), point("b", host=host)])
    first, second = claim(outbox)
    outbox.settle([first.reject(text), second.register(Registration(billable=None, classification=text))])

    assert outbox.get("a").point.host == host
    assert outbox.get("a").last_error == text
    assert Registration(billable=None, classification=text) == outbox.get("b").registration


@pytest.mark.parametrize("key", ["key ", " key", "KEY"])
def test_keys_that_look_alike(outbox, key):
    """
    What a database may take for the same key is another one.
    """
    bring(outbox, State.HELD, "key")

    assert (outbox.get(key), outbox.retry([key]), outbox.discard([key])) == (None, 0, 0)


@pytest.fixture
def unreadable(outbox):
    """
    An outbox with three points, the second of them of a version to come.
    """
    outbox.add(points(3))
    execute(outbox, "UPDATE remotion_usage_point SET event = 'render-of-tomorrow' WHERE idempotency_key = 'key-1'")
    return outbox


def test_unreadable_row_is_rejected(unreadable):
    """
    A row that is no usage point does not stop the others, and stays visible as rejected.
    """
    claimed = keys(claim(unreadable))
    columns = "SELECT state, token, last_error FROM remotion_usage_point WHERE idempotency_key = 'key-1'"
    [(state, token, last_error)] = execute(unreadable, columns)

    assert claimed == ["key-0", "key-2"]
    assert (state, token, last_error[:15]) == (State.REJECTED, None, "cannot be read:")


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


def plan(outbox, statement, **values):
    """
    Return how the server would run a statement of the outbox.
    """
    engine = outbox._server._engine()
    compiled = statement.compile(engine, compile_kwargs={"render_postcompile": True})
    with engine.begin() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN {compiled}", {**compiled.params, **values})
        return "\n".join(row[0] for row in rows)


@pytest.fixture
def full(postgresql_outbox):
    """
    An outbox with 100,000 points, most of them registered.
    """
    columns = "idempotency_key, event, is_still, is_production, occurred_at, state, due"
    state = "CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'registered' END"
    filled = f"SELECT n, 'web-render', false, true, n, {state}, n FROM generate_series(1, 100000) AS n"
    execute(postgresql_outbox, f"INSERT INTO remotion_usage_point ({columns}) {filled}")
    execute(postgresql_outbox, "ANALYZE remotion_usage_point")
    return postgresql_outbox


def test_claim_uses_the_index(full):
    """
    Points are claimed by the index of pending ones, and written by their numbers; nothing is sorted or read through.
    """
    found = plan(full, full._dialect._claim, size=100, lease=60, claim_token="t")

    assert found.count("Index Scan using remotion_usage_point_due") == 2
    assert "Index Scan using remotion_usage_point_pkey" in found
    assert "Seq Scan" not in found
    assert "Sort" not in found


def test_next_due_uses_the_index(full):
    """
    Whether something is due is seen at the ends of the index.
    """
    found = plan(full, full._dialect.next_due)

    assert found.count("using remotion_usage_point_due") == 2
    assert "Seq Scan" not in found


def test_write_looks_rows_up(full):
    """
    What became of claimed points is written by their numbers, also when the server takes few points for pending.
    """
    execute(full, "UPDATE remotion_usage_point SET state = 'registered' WHERE id > 10")
    execute(full, "ANALYZE remotion_usage_point")
    found = plan(full, full._dialect.settle, changes='[{"id": 1}]')

    assert "Index Scan using remotion_usage_point_pkey" in found
    assert "Seq Scan" not in found


def test_prune_in_steps(outbox):
    """
    Old points are deleted a thousand at a time, so that no step keeps many rows locked.
    """
    outbox.add(points(2500))
    outbox.settle(
        [claimed.register(Registration(billable=True, classification=None)) for claimed in claim(outbox, 2500)]
    )
    with counted(outbox) as sent:
        assert outbox.prune(-DAY) == 2500

    assert len(sent) == 4
    assert outbox.list() == []


def test_does_what_the_memory_store_does(url):
    """
    Step by step, whatever is asked of it, the database holds what the memory store does.
    """

    class Stores(test_model.Stores):
        def new_store(self):
            store = SQLAlchemyOutbox(url, clock=self.clock)
            execute(store, "DELETE FROM remotion_usage_point")
            return store

    run_state_machine_as_test(Stores, settings=settings(test_model.TestStores.settings, max_examples=10))


@pytest.mark.parametrize(
    ("version", "is_mariadb", "message"),
    [
        ((5, 7, 44), False, "this MySQL is too old, 8.0.4 or newer is needed"),
        ((8, 0, 3), False, "this MySQL is too old, 8.0.4 or newer is needed"),
        ((10, 5, 29), True, "this MariaDB is too old, 10.6 or newer is needed"),
    ],
)
def test_old_server(mariadb, monkeypatch, version, is_mariadb, message):
    """
    A server that cannot skip locked rows is refused before anything is made.
    """
    with closing(open_outbox(to_url(mariadb))) as outbox:
        outbox.open()
        dialect = outbox._server._engine().dialect
        monkeypatch.setattr(dialect, "server_version_info", version)
        monkeypatch.setattr(dialect, "is_mariadb", is_mariadb)
        outbox.close()
        with pytest.raises(OutboxError, match=message):
            outbox.open()


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

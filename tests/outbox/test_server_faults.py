"""
The outbox in a database server when things go wrong: calls end in time, and what was acknowledged is still there.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import open_outbox
from tests._postgresql import wait_stopped
from tests._server_outbox import connected, emptied, execute, to_url
from tests.outbox import _programs
from tests.outbox._values import CALLS, REGISTRATION, claim, keys, point, points

pytest.importorskip("psycopg")

from psycopg import capabilities

from remotion_licensing_integrations.outbox import server as module
from remotion_licensing_integrations.outbox.drivers import mysql, postgresql

PATIENCE = 20  # seconds that a test waits for what must happen
SOON = 5  # seconds within which a call must have ended, whatever the server does
OURS = "FROM pg_stat_activity WHERE application_name = 'remotion-licensing' AND pid <> pg_backend_pid()"


@pytest.fixture
def server(postgresql_server):
    """
    A server that runs, whatever an earlier test has done to it.
    """
    postgresql_server.thaw()
    if not postgresql_server.processes():
        postgresql_server.start()
    return postgresql_server


@pytest.fixture
def url(server):
    return to_url(server.entry)


@pytest.fixture
def outbox(url):
    with closing(open_outbox(url)) as outbox:
        execute(outbox, "DELETE FROM remotion_usage_point")
        yield outbox


@pytest.fixture
def admin(url):
    """
    Run statements in a session of the test's own.
    """
    with connected(url) as execute_there:
        execute_there("SET application_name = 'admin'")
        yield execute_there


@pytest.fixture
def impatient(monkeypatch):
    """
    Have the outbox wait for one second only, and not try again then.
    """
    monkeypatch.setattr(postgresql, "MAX_SILENCE", 1)
    monkeypatch.setattr(module, "_RETRY_FOR", 0.5)


@contextmanager
def ends_soon():
    """
    Hold that what is inside takes no longer than it may.
    """
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < SOON


def wait_until(condition):
    """
    Look again and again until *condition* holds.
    """
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def sessions(admin, state="%"):
    """
    Count the outbox's sessions that are in a state.
    """
    # Inside a transaction, what is seen of the others stays the same until it is asked for anew.
    admin("SELECT pg_stat_clear_snapshot()")
    [(count,)] = admin(f"SELECT COUNT(*) {OURS} AND state LIKE %s", (state,))
    return count


def waiting_for_locks(admin):
    """
    Count the outbox's sessions that wait for a lock.
    """
    admin("SELECT pg_stat_clear_snapshot()")
    [(count,)] = admin(f"SELECT COUNT(*) {OURS} AND wait_event_type = 'Lock'")
    return count


def end_sessions(admin):
    """
    End the outbox's sessions, and wait until they are gone.
    """
    admin(f"SELECT pg_terminate_backend(pid, 5000) {OURS}")


@pytest.mark.parametrize("call", CALLS)
def test_session_that_the_server_has_ended(outbox, admin, call):
    """
    Row 33: the call after the server has ended the session has a new one, and succeeds.
    """
    outbox.add([point("before")])
    end_sessions(admin)
    CALLS[call](outbox)

    assert "before" in keys(outbox.list())


def test_write_after_the_session_has_ended(outbox, admin):
    """
    Row 33: an answer that came while the session ended is written with the next one.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    end_sessions(admin)

    assert outbox.update([claimed.register(REGISTRATION)]) == 1


def test_session_that_ends_in_a_call(outbox, admin):
    """
    Row 33: a call whose session ends while it waits for a lock is made again, and succeeds.
    """
    outbox.add([point("before")])
    with ThreadPoolExecutor(1) as executor:
        admin("BEGIN")
        admin("LOCK TABLE remotion_usage_point")
        adding = executor.submit(outbox.add, [point("after")])
        wait_until(lambda: sessions(admin, "active"))
        end_sessions(admin)
        admin("ROLLBACK")
        adding.result(PATIENCE)

    assert keys(outbox.list()) == ["after", "before"]


def test_session_of_mariadb_that_has_ended(request):
    """
    Row 33: the same in MariaDB.
    """
    with emptied(request, "mariadb", None) as outbox, emptied(request, "mariadb", None) as other:
        other.add([point("before")])
        [(session,)] = execute(other, "SELECT CONNECTION_ID()")
        execute(outbox, f"KILL {session}")
        other.add([point("after")])

        assert keys(other.list()) == ["after", "before"]


def test_restarted_server(server, outbox):
    """
    Row 33: the first call after the server was restarted succeeds.
    """
    outbox.add([point("before")])
    server.stop()
    server.start()
    outbox.add([point("after")])

    assert keys(outbox.list()) == ["after", "before"]


def test_server_that_is_away(server, outbox):
    """
    Row 33: while there is no server each call is an error at once, and with the server all goes on.
    """
    outbox.add([point("before")])
    server.stop()
    for _ in range(3):
        with ends_soon(), pytest.raises(OutboxError, match="failed: No such file"):
            outbox.add([point("meanwhile")])
    server.start()
    outbox.add([point("after")])

    assert keys(outbox.list()) == ["after", "before"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("has_poll", [True, False])
def test_frozen_server(server, outbox, monkeypatch, has_poll):
    """
    Row 34: a server that is frozen is an error in time; when it wakes, what it had received is there once.
    """
    if not has_poll:
        monkeypatch.delattr(postgresql.select, "poll")  # as on Windows
    outbox.add([point("before")])
    server.freeze()
    with ends_soon(), pytest.raises(OutboxError, match="no answer for 1 s"):
        outbox.add([point("meanwhile")])
    server.thaw()
    outbox.add([point("meanwhile"), point("after")])

    assert sorted(keys(outbox.list())) == ["after", "before", "meanwhile"]


@pytest.mark.usefixtures("impatient")
def test_frozen_server_at_the_first_call(server, url):
    """
    Row 34: a server that takes connections and says nothing is an error in time.
    """
    server.freeze()
    with closing(open_outbox(url)) as outbox, ends_soon(), pytest.raises(OutboxError, match="timeout"):
        outbox.add([point()])


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_silent_listener(scheme):
    """
    Row 34: whoever listens and never speaks is an error in time.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"{scheme}://user:secret@127.0.0.1:{listener.getsockname()[1]}/database"
        options = "?read_timeout=2" if scheme == "mysql" else ""
        with closing(open_outbox(where + options)) as outbox, ends_soon(), pytest.raises(OutboxError) as caught:
            outbox.add([point()])

    assert "secret" not in str(caught.value)


def test_system_without_poll(monkeypatch, outbox):
    """
    Where there is no `poll`, as on Windows, a store in PostgreSQL works the same, and gives up the same.
    """
    monkeypatch.delattr(postgresql.select, "poll")
    outbox.add([point()])

    assert keys(outbox.list()) == ["key"]


def test_frozen_mariadb(request):
    """
    Row 34: a MariaDB server that is frozen is an error in time, and when it wakes all goes on.
    """
    entry = request.getfixturevalue("mariadb")
    with emptied(request, "mariadb", None), closing(open_outbox(to_url(entry, read_timeout="1"))) as outbox:
        outbox.add([point("before")])
        [(directory, file)] = execute(outbox, "SELECT @@datadir, @@pid_file")
        pid = int((Path(directory) / file).read_text())
        os.kill(pid, signal.SIGSTOP)
        wait_stopped(pid)
        try:
            with ends_soon(), pytest.raises(OutboxError, match="Lost connection"):
                outbox.add([point("meanwhile")])
        finally:
            os.kill(pid, signal.SIGCONT)
        outbox.add([point("meanwhile"), point("after")])

        assert sorted(keys(outbox.list())) == ["after", "before", "meanwhile"]


@pytest.mark.skipif(not capabilities.has_cancel_safe(), reason="libpq before 17 cannot cancel within a time")
@pytest.mark.usefixtures("impatient")
def test_locked_table(outbox, admin, monkeypatch):
    """
    Row 28: whoever keeps the table locked makes each call an error, and none leaves a session behind that waits on.
    """
    monkeypatch.setattr(postgresql, "_CANCELLING", PATIENCE)  # a busy server takes its time
    outbox.add([point("before")])
    admin("BEGIN")
    admin("LOCK TABLE remotion_usage_point")
    for _ in range(3):
        with pytest.raises(OutboxError, match="no answer"):
            outbox.add([point("meanwhile")])
    wait_until(lambda: waiting_for_locks(admin) == 0)
    admin("ROLLBACK")
    outbox.add([point("after")])

    assert keys(outbox.list()) == ["after", "before"]


def test_deadlock(server, outbox, admin):
    """
    Row 37: a call that another transaction is in a deadlock with is made again, and succeeds.
    """
    outbox.add(points(2))
    changes = [claimed.register(REGISTRATION) for claimed in claim(outbox)]
    touch = "UPDATE remotion_usage_point SET attempts = attempts WHERE idempotency_key = %s"
    admin("SET deadlock_timeout = '10s'")
    admin("BEGIN")
    admin(touch, ("key-1",))
    with ThreadPoolExecutor(1) as executor:
        writing = executor.submit(outbox.update, changes)
        wait_until(lambda: waiting_for_locks(admin))
        admin(touch, ("key-0",))
        admin("COMMIT")

        assert writing.result(PATIENCE) == 2
    assert "deadlock detected" in server.log


def test_server_that_has_become_a_replica(outbox, admin):
    """
    A connection to a server that takes no writes any more is not kept: the next call finds the one that does.
    """
    outbox.open()
    execute(outbox, "SET default_transaction_read_only = on")
    with pytest.raises(OutboxError, match="read-only"):
        outbox.add([point()])
    outbox.add([point()])

    assert keys(outbox.list()) == ["key"]


def test_session_that_cannot_be_set_up(outbox, admin, monkeypatch):
    """
    A session whose settings the server refuses is an error, and ends.
    """
    with monkeypatch.context() as refused:
        refused.setattr(postgresql, "_SESSION", "SELECT set_config('synchronous_commit', 'never', false)")
        outbox.close()
        end_sessions(admin)
        with pytest.raises(OutboxError, match="invalid value for parameter"):
            outbox.add([point()])
    wait_until(lambda: sessions(admin) == 0)
    outbox.add([point()])

    assert keys(outbox.list()) == ["key"]


def test_session_of_mariadb_that_cannot_be_set_up(request, monkeypatch):
    """
    The same in MariaDB.
    """
    monkeypatch.setattr(mysql, "_SESSION", "SET SESSION nonsense = 1")
    url = to_url(request.getfixturevalue("mariadb"))
    with closing(open_outbox(url)) as outbox, pytest.raises(OutboxError, match="nonsense"):
        outbox.open()


def test_forks_while_a_thread_writes(url, outbox):
    """
    Row 30: thirty forks in the midst of writing: no child hangs or fails, and nothing is lost.
    """
    failed, acknowledged = _programs.run("fork_while_writing", url, 30)

    assert failed == 0
    assert {f"child-{number}" for number in range(30)} | set(acknowledged) == set(keys(outbox.list(limit=1_000_000)))


@pytest.mark.usefixtures("outbox")
def test_child_outlives_its_parent(url):
    """
    Row 31: what a child commits after its parent has closed the outbox is there.
    """
    assert _programs.run("outlive_the_parent", url) == [[0, 22]]


@pytest.mark.usefixtures("outbox")
def test_child_that_ends(url):
    """
    Row 31: a child has a session of its own, and when it ends it does not end that of its parent.
    """
    assert _programs.run("end_after_a_fork", url) == [[0, True, 2]]


def test_killed_writers_lose_nothing(url, outbox):
    """
    Row 2: whatever four writers had acknowledged when they were killed is there.
    """
    assert _programs.run("kill_writers", url, 10) == [["ok", []]]


def test_killed_claimer(url, outbox):
    """
    Row 3: what a killed process had claimed comes back when its lease ends, as possibly sent.
    """
    outbox.add([point()])
    with _programs.start("claim_and_wait", url, 1) as process:
        assert process.stdout.readline() == '["key"]\n'
        process.kill()
    assert claim(outbox) == []
    wait_until(lambda: outbox.next_due() == 0)
    [claimed] = claim(outbox)

    assert (claimed.attempts, claimed.unanswered_since is None) == (2, False)


def test_claimer_frozen_past_its_lease(url, outbox):
    """
    Row 35: what a process writes when it wakes after its lease changes nothing that others have done since.
    """
    outbox.add([point()])
    with _programs.start("claim_and_wait", url, 1) as process:
        assert process.stdout.readline() == '["key"]\n'
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: outbox.next_due() == 0)
        [claimed] = claim(outbox)
        outbox.update([claimed.register(REGISTRATION)])
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate("\n", timeout=PATIENCE)

    assert out == "0\n"
    assert outbox.get("key").state == "registered"

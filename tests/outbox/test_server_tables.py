"""
The tables of the outbox in a database server: who makes them, and when.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.operations import main
from remotion_licensing_integrations.operations.doctor import examine
from remotion_licensing_integrations.outbox import open_outbox
from remotion_licensing_integrations.outbox.statements import MIGRATIONS
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import Settings
from tests._server_outbox import connected, execute, new_databases, to_url
from tests.outbox import _programs
from tests.outbox._values import claim, keys, point, points
from tests.outbox._versions import COLUMN

pytest.importorskip("pymysql")

from remotion_licensing_integrations.outbox.drivers import mysql

ISOLATION = {
    "postgresql": "SELECT current_setting('transaction_isolation')",
    "mysql": "SELECT LOWER(REPLACE(@@tx_isolation, '-', ' '))",
}


@pytest.fixture(params=["postgresql", "mariadb"])
def entry(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def url(entry):
    """
    The URL of a new database.
    """
    with new_databases(entry) as [url]:
        yield url


@pytest.fixture
def outbox(url):
    with closing(open_outbox(url)) as outbox:
        yield outbox


def tables(url):
    """
    Return the names of the tables in a database, in order.
    """
    schema = "'public'" if "postgresql" in url else "DATABASE()"
    with connected(url) as execute_there:
        rows = execute_there(f"SELECT table_name FROM information_schema.tables WHERE table_schema = {schema}")
    return sorted(name for (name,) in rows)


def test_nothing_is_made_before_the_first_use(url, outbox):
    """
    An outbox that is not used makes no table.
    """
    assert not outbox.exists()
    assert tables(url) == []


def test_first_use_makes_the_tables(url, outbox):
    """
    The first call makes the tables, and no later one any.
    """
    outbox.add([point()])

    assert outbox.exists()
    assert tables(url) == [*("remotion_daily_total", "remotion_pause", "remotion_usage_point", "remotion_usage_schema")]
    assert execute(outbox, "SELECT MAX(version) FROM remotion_usage_schema") == [(len(MIGRATIONS["mysql"]),)]


def test_table_in_postgresql(postgresql):
    """
    The index has pending points only, pages have room for the next version of a row, and statistics stay fresh.
    """
    with new_databases(postgresql) as [url], closing(open_outbox(url)) as outbox:
        [(index,)] = execute(outbox, "SELECT indexdef FROM pg_indexes WHERE indexname = 'remotion_usage_point_due'")
        [(options,)] = execute(outbox, "SELECT reloptions FROM pg_class WHERE relname = 'remotion_usage_point'")

    assert index.endswith("(key_fingerprint, due, id) WHERE ((state)::text = 'pending'::text)")
    assert options == [
        *("fillfactor=90", "autovacuum_vacuum_scale_factor=0.02", "autovacuum_analyze_scale_factor=0.02")
    ]


def test_table_in_mariadb(mariadb):
    """
    The table is transactional and tells upper from lower case, whatever the defaults of the database.
    """
    made = "SELECT engine, table_collation FROM information_schema.tables WHERE table_name = 'remotion_usage_point'"
    with new_databases(mariadb) as [url], closing(open_outbox(url)) as outbox:
        outbox.open()

        assert execute(outbox, f"{made} AND table_schema = DATABASE()") == [("InnoDB", "utf8mb4_bin")]


def test_server_that_wants_primary_keys(mariadb):
    """
    The tables are made on a server that takes none without a primary key, as hosted ones are often set up.
    """
    with connected(to_url(mariadb)) as run_there, new_databases(mariadb) as [url], closing(open_outbox(url)) as outbox:
        run_there("SET GLOBAL innodb_force_primary_key = ON")
        try:
            outbox.open()
        finally:
            run_there("SET GLOBAL innodb_force_primary_key = OFF")

        assert outbox.exists()


def test_first_open_by_many(entry):
    """
    Eight processes that open a new outbox at the same moment all succeed.
    """
    with new_databases(entry, 6) as urls:
        assert _programs.run("open_at_once", 8, *urls) == [0]
        for url in urls:
            with closing(open_outbox(url)) as outbox:
                assert keys(outbox.list()) == ["key"]
                assert execute(outbox, "SELECT MAX(version) FROM remotion_usage_schema") == [
                    (len(MIGRATIONS["mysql"]),)
                ]


def test_process_that_makes_tables_for_long(mariadb, monkeypatch):
    """
    Whoever makes the tables, in MySQL under a lock by name, is not waited for without end.
    """
    monkeypatch.setattr(mysql, "_LOCK_WAIT", 1)
    with (
        new_databases(mariadb, 2) as urls,
        closing(open_outbox(urls[0])) as holder,
        closing(open_outbox(urls[1])) as other,
    ):
        execute(holder, "SELECT GET_LOCK('remotion_usage_point', 0)")
        with pytest.raises(OutboxError, match="another process has been creating the tables for more than 1 s"):
            other.open()
        execute(holder, "SELECT RELEASE_LOCK('remotion_usage_point')")
        other.open()

        assert other.exists()


def test_schema_of_a_newer_version(url, outbox):
    """
    Tables that a newer version of the package has migrated are left alone, and the error says what to do.
    """
    outbox.add([point()])
    execute(outbox, f"UPDATE remotion_usage_schema SET version = {len(MIGRATIONS['mysql']) + 1}")
    newer = rf"@\S+: schema {len(MIGRATIONS['mysql']) + 1} is newer than this package knows; upgrade the package$"
    with closing(open_outbox(url)) as other, pytest.raises(OutboxError, match=newer):
        other.add([point("other")])

    assert keys(outbox.list()) == ["key"]


def test_tables_that_are_half_made(url, outbox):
    """
    What is missing of the tables is made, and what is there stays: MySQL cannot undo half of it.
    """
    outbox.add([point()])
    execute(outbox, "DROP TABLE remotion_pause")
    execute(outbox, "DELETE FROM remotion_usage_schema")
    with closing(open_outbox(url)) as other:
        other.open()

        assert keys(other.list()) == ["key"]
        assert execute(other, "SELECT MAX(version) FROM remotion_usage_schema") == [(len(MIGRATIONS["mysql"]),)]
        assert other.pauses() == []


def test_tables_that_are_dropped(outbox):
    """
    When the tables go while they are used, one call is an error, and the next makes them anew.
    """
    outbox.add([point("before")])
    execute(outbox, "DROP TABLE remotion_usage_point")
    execute(outbox, "DROP TABLE remotion_usage_schema")
    with pytest.raises(OutboxError, match="remotion_usage_point"):
        outbox.add([point("lost")])
    outbox.add([point("after")])

    assert keys(outbox.list()) == ["after"]


@pytest.fixture
def limited_url(url, outbox):
    """
    The URL for a user who may use tables, but make none.
    """
    name = url.partition("?")[0].rpartition("/")[2]
    rights = "SELECT, INSERT, UPDATE, DELETE"
    if "mysql" in url:
        start, end = "CREATE USER limited@localhost", "DROP USER limited@localhost"
        grant = f"GRANT {rights} ON {name}.* TO limited@localhost"
        after = "SELECT 1"
    else:
        start, end = "CREATE ROLE limited LOGIN", "DROP OWNED BY limited; DROP ROLE limited"
        grant = f"ALTER DEFAULT PRIVILEGES GRANT {rights} ON TABLES TO limited"
        after = "REVOKE CREATE ON SCHEMA public FROM public"

    with connected(url) as execute_there:
        for statement in (start, grant, after):
            execute_there(statement)
        yield url.replace("://root@", "://limited@").replace("://remotion@", "://limited@")
        execute_there(end)


def test_user_who_may_make_no_tables(limited_url, outbox):
    """
    Where the tables are there already, whoever may not make any can use them.
    """
    outbox.open()
    with closing(open_outbox(limited_url)) as limited:
        limited.add(points(2))
        limited.update([claimed.reject("no") for claimed in claim(limited)])

        assert limited.retry() == 2
        assert limited.counts().pending == 2


def test_user_who_may_change_no_tables(limited_url, outbox, monkeypatch):
    """
    Whoever may not change tables is refused while their schema is older, and can use them once another has migrated.
    """
    outbox.open()
    outbox.close()
    for database, known in MIGRATIONS.items():
        monkeypatch.setitem(MIGRATIONS, database, (*known, (COLUMN,)))
    with closing(open_outbox(limited_url)) as limited:
        with pytest.raises(OutboxError, match=r"denied|must be owner"):
            limited.add([point()])
        outbox.open()
        limited.add([point()])

        assert keys(limited.list()) == ["key"]


def test_user_who_lacks_the_tables(limited_url, outbox):
    """
    Where they are not, the error says what is denied.
    """
    with closing(open_outbox(limited_url)) as limited, pytest.raises(OutboxError, match="denied"):
        limited.add([point()])

    assert not outbox.exists()


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_isolation_is_read_committed(entry, url, level):
    """
    Whatever level the server begins transactions with, those of the outbox are READ COMMITTED.
    """
    kind = "mysql" if "mysql" in url else "postgresql"
    option = {
        "mysql": {"init_command": f"SET SESSION TRANSACTION ISOLATION LEVEL {level}"},
        "postgresql": {"options": f"-c default_transaction_isolation={level.lower()}".replace("e r", "e\\ r")},
    }[kind]
    with closing(open_outbox(to_url(entry, url.partition("?")[0].rpartition("/")[2], **option))) as outbox:
        assert execute(outbox, ISOLATION[kind]) == [("read committed",)]


def test_commits_are_durable(postgresql):
    """
    Where the database has commits go on before they are on the disk, those of the outbox wait for it.
    """
    with new_databases(postgresql) as [url]:
        for option, expected in [("off", "on"), ("on", "on"), ("local", "local"), ("remote_apply", "remote_apply")]:
            with closing(open_outbox(f"{url}&options=-csynchronous_commit%3D{option}")) as outbox:
                assert execute(outbox, "SHOW synchronous_commit") == [(expected,)]


def test_claims_where_the_server_is_serializable(postgresql):
    """
    Sessions that claim and write at once meet no error of serialisation where the database's default is SERIALIZABLE.
    """
    with new_databases(postgresql) as [database]:
        url = f"{database}&options=-cdefault_transaction_isolation%3Dserializable"
        with closing(open_outbox(url)) as outbox:
            outbox.add(points(400))

        def deliver(_):
            with closing(open_outbox(url)) as outbox:
                return sum(outbox.update([each.reject("no") for each in claim(outbox, 5)]) for _ in range(40))

        with ThreadPoolExecutor(8) as executor:
            assert sum(executor.map(deliver, range(8))) == 400


@pytest.mark.parametrize("words", [["status"], ["list"], ["retry", "--all"], ["prune"], ["reconcile"]])
def test_command_without_tables(url, outbox, words, capsys):
    """
    A command about recorded points does not take a database without tables for an empty outbox, and makes none.
    """
    status = main(["--outbox", url, *words])

    assert (status, outbox.exists()) == (2, False)
    assert "does not exist or has no tables" in capsys.readouterr().err


def test_status(url, outbox, capsys):
    """
    The command line shows the points of a database like those of a file.
    """
    outbox.add(points(3))

    assert main(["--outbox", url, "status"]) == 0
    assert "3" in capsys.readouterr().out


def test_clock_of_the_server(outbox):
    """
    Without a clock of one's own the time is the server's, which all machines share.
    """
    assert abs(datetime.now(UTC) - outbox.now()) < timedelta(minutes=1)


def test_doctor_makes_no_tables(url, outbox):
    """
    To look for what is wrong makes nothing.
    """
    recorder = UsageRecorder(Settings(license_key="rm_pub_test", outbox=url, base_url="http://127.0.0.1:9"))
    found = [finding.text for finding in examine(recorder)]
    recorder.outbox.close()

    assert any(text.startswith(f"{outbox!r} does not exist yet") for text in found)
    assert not outbox.exists()


def test_doctor_looks_at_the_points(url, outbox):
    """
    Where the tables are, the doctor says that they can be used.
    """
    outbox.add(points(3))
    recorder = UsageRecorder(Settings(license_key="rm_pub_test", outbox=url, base_url="http://127.0.0.1:9"))
    found = [finding.text for finding in examine(recorder)]
    recorder.outbox.close()

    assert f"The outbox {outbox!r} can be used; 3 points pending." in found

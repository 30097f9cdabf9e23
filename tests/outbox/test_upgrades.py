"""
Two versions of the package on one store: the newer one, in a process of its own, has one more migration.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from remotion_licensing_integrations.outbox import open_outbox
from remotion_licensing_integrations.outbox.statements import MIGRATIONS
from remotion_licensing_integrations.testing.sandbox import Sandbox
from tests._server_outbox import connected, new_databases
from tests._systems import needs_forks, needs_signals
from tests.outbox import _versions
from tests.outbox._values import keys, point

pytest.importorskip("pymysql")
pytest.importorskip("psycopg")

from remotion_licensing_integrations.outbox.drivers import postgresql as driver

NEWEST = len(MIGRATIONS["sqlite"])
#: What a migration that has seen the light may consist of.
ADDITIONS = re.compile(
    r"CREATE TABLE IF NOT EXISTS \w+ \(.*\)"
    r"|CREATE INDEX (IF NOT EXISTS )?\w+ ON \w+ \([^;]*"
    r"|ALTER TABLE \w+ ADD COLUMN (IF NOT EXISTS )?(?!.*\b(UNIQUE|PRIMARY|REFERENCES|CHECK|AFTER|FIRST)\b)"
    r"(?!.*NOT NULL(?!.*DEFAULT))[^,;]+(\(\d+(, ?\d+)?\))?[^,;]*"
    r"|ALTER TABLE \w+ SET \([^;]*\)",
    re.DOTALL,
)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request, place) -> Iterator[str]:
    """
    The URL of a store that this version has made.
    """
    if request.param == "sqlite":
        yield from made(f"sqlite:///{place}/outbox.sqlite3")
    else:
        with new_databases(request.getfixturevalue(request.param)) as [new]:
            yield from made(new)


def made(url: str) -> Iterator[str]:
    with closing(open_outbox(url)) as outbox:
        outbox.open()
    yield url


@pytest.fixture
def api() -> Iterator[Sandbox]:
    with Sandbox() as api:
        yield api


class App:
    """
    A process that records and delivers.

    Attributes:
        keys: What it has recorded.
        log: What it has logged, once it has ended.
    """

    def __init__(self, process: Any) -> None:
        self._process = process
        self.keys: list[str] = []
        self.log: list[str] = []
        assert self._read() == "ready"

    def record(self) -> None:
        """
        Record some points.
        """
        self._process.stdin.write(f"{len(self.keys)}\n")
        self._process.stdin.flush()
        recorded, committed = self._read()
        assert committed
        self.keys += recorded

    def end(self) -> None:
        """
        Stop it in good order.
        """
        self._process.stdin.close()
        self.log = self._read()

    def kill(self) -> None:
        """
        Kill it.
        """
        self._process.kill()
        self._process.wait()

    def _read(self) -> Any:
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def start(url, place, api) -> Iterator[Any]:
    """
    Start apps of a version.
    """
    processes = []

    def start(version: str) -> App:
        process = _versions.start(version, "app", url, f"sqlite:///{place}/spill.sqlite3", api.url)
        processes.append(process)
        return App(process)

    yield start
    for process in processes:
        with process:  # closes its pipes
            process.kill()


@contextmanager
def session(url: str) -> Iterator[Any]:
    """
    Run statements beside the outboxes, as a function that returns rows.
    """
    if "sqlite" in url:
        with closing(open_outbox(url, takes_newer=True)) as outbox:
            yield lambda sql: outbox._file.rows(sql, {})
    else:
        with connected(url) as execute:
            yield execute


def schema(url: str) -> list[tuple[Any, ...]]:
    with session(url) as execute:
        version = "PRAGMA user_version" if "sqlite" in url else "SELECT MAX(version) FROM remotion_usage_schema"
        rows: list[tuple[Any, ...]] = execute(version)
        return rows


def check_registered(api: Sandbox, *apps: App) -> None:
    recorded = sorted(key for app in apps for key in app.keys)
    api.wait_for(points=len(recorded), timeout=30)
    assert sorted(api.idempotency_keys()) == recorded


def test_side_by_side(url, start, api) -> None:
    """
    A process that runs while a newer one migrates goes on; both record and deliver, and each point arrives once.
    """
    older = start("older")
    older.record()
    newer = start("newer")
    for app in (older, newer, older, newer):
        app.record()

    check_registered(api, older, newer)
    older.end()
    newer.end()
    assert (schema(url), older.log, newer.log) == ([(NEWEST + 1,)], [], [])


def test_older_process_that_starts_later(url, start, api) -> None:
    """
    A process of the older version that starts afterwards spills its points, also into a newer spill; the newer version
    delivers each once.
    """
    newer = start("newer")
    first = start("older")
    first.record()
    check_registered(api, first)  # the newer process has moved them, and has migrated the spill
    second = start("older")
    second.record()
    first.record()

    check_registered(api, first, second)
    for app in (first, second):
        app.end()
        reason = f": schema {NEWEST + 1} is newer than this package knows; upgrade the package"
        assert [line for line in app.log if not line.endswith(reason) or "\n" in line] == []
        assert 1 <= len(app.log) <= len(("opened", "delivered", "recorded"))
    newer.end()


def test_older_process_that_is_killed(url, start, api) -> None:
    """
    What such a process has spilled before it was killed, the next process of the newer version delivers.
    """
    start("newer").kill()
    older = start("older")
    older.record()
    older.kill()
    start("newer")

    check_registered(api, older)


@needs_forks
def test_upgrade_by_many(url) -> None:
    """
    Of eight processes that open an older store at the same moment one migrates it, and none fails.
    """
    assert _versions.run("newer", "open_at_once", 8, url) == [0]
    assert schema(url) == [(NEWEST + 1,)]


@needs_signals
def test_killed_upgrade(url, monkeypatch) -> None:
    """
    A migration whose process is killed half-way is completed by the next process.
    """
    with closing(open_outbox(url)) as outbox:
        outbox.add([point("before")])
    with _versions.start("older", "open_and_die", url) as process:
        assert process.wait(_versions.PATIENCE) == -signal.SIGKILL
    assert schema(url) == [(NEWEST,)]

    for database, known in MIGRATIONS.items():
        monkeypatch.setitem(MIGRATIONS, database, (*known, _versions.NEWER))
    with closing(open_outbox(url)) as newer:
        newer.add([point("after")])
    assert schema(url) == [(NEWEST + 1,)]
    with session(url) as execute:
        assert execute("SELECT idempotency_key, colour FROM remotion_usage_point ORDER BY id") == [
            ("before", None),
            ("after", None),
        ]
        assert execute("SELECT name FROM remotion_colour") == []


def test_killed_upgrade_and_older_process(url) -> None:
    """
    Between the two, processes of the older version work.
    """
    with _versions.start("older", "open_and_die", url) as process:
        process.wait(_versions.PATIENCE)
    with closing(open_outbox(url)) as outbox:
        outbox.add([point("between")])

        assert keys(outbox.claim(1, lease=60)) == ["between"]


def test_long_migration(postgresql, monkeypatch) -> None:
    """
    A migration may take longer than a server may be silent: what PostgreSQL gives up, it undoes.
    """
    with new_databases(postgresql) as [url], closing(open_outbox(url)) as outbox:
        outbox.open()
        outbox.close()
        monkeypatch.setattr(driver, "MAX_SILENCE", 0.5)
        monkeypatch.setitem(MIGRATIONS, "postgresql", (*MIGRATIONS["postgresql"], ("SELECT pg_sleep(1)",)))
        outbox.add([point()])

        assert schema(url) == [(NEWEST + 1,)]


@pytest.mark.parametrize("database", MIGRATIONS)
def test_migrations_only_add(database) -> None:
    """
    After the first schema, each statement of a migration adds something that older versions need not know.
    """
    added = [statement for migration in (*MIGRATIONS[database][1:], _versions.NEWER) for statement in migration]

    assert [statement for statement in added if not ADDITIONS.fullmatch(statement.strip())] == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE remotion_usage_point DROP COLUMN label",
        "ALTER TABLE remotion_usage_point RENAME COLUMN label TO name",
        "ALTER TABLE remotion_usage_point ADD COLUMN colour TEXT NOT NULL",
        "ALTER TABLE remotion_usage_point ADD COLUMN colour TEXT UNIQUE",
        "ALTER TABLE remotion_usage_point ADD COLUMN colour TEXT, DROP COLUMN label",
        "ALTER TABLE remotion_usage_point MODIFY label TEXT",
        "CREATE UNIQUE INDEX colours ON remotion_usage_point (label)",
        "CREATE TABLE remotion_colour (name TEXT)",
        "DROP TABLE remotion_pause",
        "UPDATE remotion_usage_point SET label = ''",
    ],
)
def test_what_no_migration_may_do(statement) -> None:
    """
    What would break the statements of an older version, or could not be run again, is found.
    """
    assert not ADDITIONS.fullmatch(statement)


def test_columns_with_a_default() -> None:
    """
    A column that older versions leave out may have a default.
    """
    assert ADDITIONS.fullmatch("ALTER TABLE remotion_usage_point ADD COLUMN colour VARCHAR(20) NOT NULL DEFAULT 'red'")

"""
Stores that older versions have written, as they are kept in `tests/golden`, under this version.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from remotion_licensing_integrations.delivery import Deliverer
from remotion_licensing_integrations.outbox import ServerOutbox, SQLiteOutbox, State
from remotion_licensing_integrations.outbox.statements import MIGRATIONS
from remotion_licensing_integrations.settings import Settings
from remotion_licensing_integrations.testing.sandbox import Sandbox
from tests._delivery import KEY
from tests._django import add_database
from tests._server_outbox import connected, new_databases
from tests.golden.make_outboxes import LEASE, PLACE, dump_of_schema
from tests.outbox._values import START, Clock

DJANGO_MIGRATIONS = "remotion_licensing_integrations/django/migrations"
NUMBERS = sorted(int(path.stem.rpartition("-")[2]) for path in PLACE.glob("outbox-schema-*.json"))


def stored(number: int, ending: str) -> Path:
    return PLACE / f"outbox-schema-{number}.{ending}"


def expected(number: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(stored(number, "json").read_text(encoding="utf-8"))
    return content


@contextmanager
def in_file(request, number: int, clock: Clock) -> Iterator[Any]:
    path = request.getfixturevalue("place") / "outbox.sqlite3"
    shutil.copyfile(stored(number, "sqlite3"), path)
    with closing(SQLiteOutbox(path, clock=clock)) as outbox:
        yield outbox


@contextmanager
def in_django(request, number: int, clock: Clock) -> Iterator[Any]:
    management = pytest.importorskip("django.core.management")
    path = request.getfixturevalue("place") / "django.sqlite3"
    shutil.copyfile(stored(number, "django.sqlite3"), path)
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": path}
    from remotion_licensing_integrations.django.outbox import DjangoOutbox  # noqa: PLC0415 - Django is an extra

    request.getfixturevalue("django_db_setup")
    with request.getfixturevalue("django_db_blocker").unblock(), add_database("stored", entry, migrated=False):
        management.call_command("migrate", "remotion_licensing", database="stored", verbosity=0)
        with closing(DjangoOutbox("stored", clock=clock)) as outbox:
            yield outbox


def in_server(fixture: str, ending: str) -> Callable[..., Any]:
    @contextmanager
    def opened(request, number: int, clock: Clock) -> Iterator[Any]:
        with new_databases(request.getfixturevalue(fixture)) as [url]:
            with connected(url) as execute:
                for statement in stored(number, ending).read_text(encoding="utf-8").split(";\n")[:-1]:
                    execute(statement)
            with closing(ServerOutbox(url, clock=clock)) as outbox:
                yield outbox

    return opened


STORES = {
    "sqlite": in_file,
    "django": in_django,
    "postgresql": in_server("postgresql", "postgresql.sql"),
    "mariadb": in_server("mariadb", "mysql.sql"),
}


CASES = [(store, number) for store in STORES for number in NUMBERS]


@pytest.fixture(params=CASES, ids=[f"{store}-{number}" for store, number in CASES])
def opening(request) -> Callable[[Clock], Any]:
    """
    Open one stored outbox of one schema, under a clock.
    """
    store, number = request.param
    return lambda clock: STORES[store](request, number, clock)


@pytest.fixture
def number(request) -> int:
    result: int = request.node.callspec.params["opening"][1]
    return result


def test_points_and_pauses(opening, number, clock) -> None:
    """
    All points with their states, and the pauses, are read out of a store that an older version has written.
    """
    with opening(clock) as outbox:
        points = [point.to_json() for point in outbox.list()]
        [pause] = outbox.pauses()

    known = [{name: point[name] for name in old} for point, old in zip(points, expected(number)["points"], strict=True)]
    assert known == expected(number)["points"]
    assert [{"deliverer": pause.deliverer, "reason": pause.reason}] == [
        {"deliverer": old["deliverer"], "reason": old["reason"]} for old in expected(number)["pauses"]
    ]


def test_delivery(opening, number, clock) -> None:
    """
    Each pending point of such a store is registered once, also one that an ended process had claimed.
    """
    clock.now = START + LEASE
    pending = sorted(point["idempotency_key"] for point in expected(number)["points"] if point["state"] == "pending")
    with Sandbox() as api, opening(clock) as outbox:
        deliverer = Deliverer(outbox, Settings(license_key=KEY, base_url=api.url), clock=clock)
        registered = deliverer.deliver()
        deliverer.close()
        states = [outbox.get(key).state for key in pending]

        assert (registered, sorted(api.idempotency_keys())) == (len(pending), pending)
    assert set(states) == {State.REGISTERED}


@pytest.mark.parametrize("database", MIGRATIONS)
def test_each_schema_is_stored(database) -> None:
    """
    Each schema has a stored outbox, which `python -m tests.golden.make_outboxes` writes.
    """
    ending = "sqlite3" if database == "sqlite" else f"{database}.sql"
    missing = [number for number in range(1, len(MIGRATIONS[database]) + 1) if not stored(number, ending).exists()]

    assert missing == []


def test_each_schema_of_django_is_stored() -> None:
    """
    So does each migration of the Django part.
    """
    migrations = (PLACE.parents[1] / DJANGO_MIGRATIONS).glob("[0-9]*.py")
    missing = [path.name for path in migrations if not stored(int(path.name[:4]), "django.sqlite3").exists()]

    assert missing == []


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("database", ["postgresql", "mysql"])
def test_migrations_never_change(database, number) -> None:
    """
    The statements that have made a stored outbox are those that make its schema today.
    """
    assert stored(number, f"{database}.sql").read_text(encoding="utf-8").startswith(dump_of_schema(database, number))


@pytest.mark.parametrize("number", NUMBERS)
def test_migrations_of_files_never_change(monkeypatch, place, number) -> None:
    """
    So are those of a file.
    """
    monkeypatch.setitem(MIGRATIONS, "sqlite", MIGRATIONS["sqlite"][:number])
    shutil.copyfile(stored(number, "sqlite3"), place / "stored")
    schemas = []
    for name in ("stored", "new"):
        with closing(SQLiteOutbox(place / name)) as outbox:
            schemas.append(outbox._file.rows("SELECT type, name, sql FROM sqlite_master ORDER BY rowid", {}))

    assert schemas[0] == schemas[1]

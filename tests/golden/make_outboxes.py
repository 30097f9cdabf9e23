"""
Store outboxes as the newest schema has them, for the tests of versions to come: `python -m tests.golden.make_outboxes`.

It needs Django, PostgreSQL, MariaDB and both drivers. For schema 1 it writes, beside itself,

    outbox-schema-1.sqlite3           a file
    outbox-schema-1.django.sqlite3    the tables of a Django project
    outbox-schema-1.postgresql.sql    statements that make and fill the tables in PostgreSQL
    outbox-schema-1.mysql.sql         and in MySQL or MariaDB
    outbox-schema-1.json              the points, totals and pauses that are in each of them

Run it when a schema is new. The files of a schema that was released never change.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from textwrap import dedent
from typing import Any

from remotion_licensing_integrations.outbox import DIMENSIONS, ServerOutbox, SQLiteOutbox
from remotion_licensing_integrations.outbox.statements import MIGRATIONS
from remotion_licensing_integrations.points.point import Registration
from tests import _mariadb, _postgresql
from tests._django import add_database, set_up
from tests._server_outbox import connected, new_databases
from tests.outbox._values import Clock, point

PLACE = Path(__file__).parent
LEASE = 60.0  # seconds
TABLES = ("remotion_usage_point", "remotion_daily_total", "remotion_pause", "remotion_usage_schema")


def fill(outbox: Any) -> None:
    """
    Bring points into every state, in an empty outbox whose clock stands still.
    """
    ways: dict[str, Callable[[Any], Any]] = {
        "registered": lambda claimed: claimed.register(Registration(billable=True, classification="billable")),
        "development": lambda claimed: claimed.register(Registration(billable=False, classification="development")),
        "rejected": lambda claimed: claimed.reject("no such event"),
        "held": lambda claimed: claimed.hold("no answer for 24 hours", unanswered=True),
        "failed": lambda claimed: claimed.reschedule(10.0, "no answer", unanswered=True),
    }
    outbox.add([point("pruned", host="https://myapp.com")])
    outbox.update([ways["registered"](claimed) for claimed in outbox.claim(1, lease=LEASE)])
    outbox.prune(-1)
    for key, way in ways.items():
        outbox.add([point(key, host="https://myapp.com", is_production=key != "development")])
        outbox.update([way(claimed) for claimed in outbox.claim(1, lease=LEASE)])
    outbox.add([point("claimed", event="web-render", is_still=True)])
    outbox.claim(1, lease=LEASE)
    outbox.add([point("pending", host="https://myapp.com", succeeded=False)])
    outbox.add([point("deferred", succeeded=None)])
    outbox.pause("host-1", "the API is unavailable", LEASE)


def content(outbox: Any) -> dict[str, Any]:
    """
    Return the points, totals and pauses of *outbox* as JSON values.
    """
    totals = sorted(outbox.totals(*DIMENSIONS, registered=True), key=repr)
    return {
        "totals": [json.loads(json.dumps(asdict(total), default=str)) for total in totals],
        "points": [stored.to_json() for stored in outbox.list()],
        "pauses": [json.loads(json.dumps(asdict(pause), default=str)) for pause in outbox.pauses()],
    }


def dump_of_schema(database: Any, number: int) -> str:
    """
    Return the statements that make the tables of schema *number*.
    """
    migrations = MIGRATIONS[database][:number]
    return _script(dedent(statement).strip() for migration in migrations for statement in migration)


def dump(url: str, database: Any, number: int) -> str:
    """
    Return the statements that make and fill the tables at *url*.
    """
    with connected(url) as execute:
        rows = [_inserts(execute, table, is_mysql=database == "mysql") for table in TABLES]
        return dump_of_schema(database, number) + _script(chain(*rows))


def _script(statements: Iterable[str]) -> str:
    return "".join(f"{statement};\n" for statement in statements)


def _inserts(execute: Callable[..., list[tuple[Any, ...]]], table: str, *, is_mysql: bool) -> Iterator[str]:
    schema = "DATABASE()" if is_mysql else "'public'"
    columns = execute(
        "SELECT column_name FROM information_schema.columns"
        f" WHERE table_schema = {schema} AND table_name = '{table}' AND column_name <> 'id' ORDER BY ordinal_position"
    )
    names = ", ".join(name for (name,) in columns)
    order = "ORDER BY id" if table == TABLES[0] else ""
    for row in execute(f"SELECT {names} FROM {table} {order}"):
        yield f"INSERT INTO {table} ({names}) VALUES ({', '.join(map(_literal, row))})"


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    return f"'{value}'" if isinstance(value, str) else str(value).upper()


def main() -> None:
    """
    Write the files.
    """
    set_up()
    from django.core.management import call_command  # noqa: PLC0415 - set up first

    from remotion_licensing_integrations.django.outbox import DjangoOutbox  # noqa: PLC0415 - set up first

    sys.modules.setdefault("MySQLdb", __import__("pymysql"))
    number = len(MIGRATIONS["sqlite"])
    name = f"outbox-schema-{number}"
    contents = []
    with tempfile.TemporaryDirectory() as folder:
        path, django_path = Path(folder) / "outbox", Path(folder) / "django"
        with closing(SQLiteOutbox(path, clock=Clock())) as outbox:
            fill(outbox)
            contents.append(content(outbox))
        entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": django_path}
        with add_database("stored", entry, migrated=False):
            call_command("migrate", "remotion_licensing", database="stored", verbosity=0)
            fill(DjangoOutbox("stored", clock=Clock()))
            contents.append(content(DjangoOutbox("stored", clock=Clock())))
        shutil.copyfile(path, PLACE / f"{name}.sqlite3")
        shutil.copyfile(django_path, PLACE / f"{name}.django.sqlite3")
    binaries, programs = _postgresql.find_binaries(), _mariadb.find_programs()
    if binaries is None or programs is None:
        sys.exit("PostgreSQL and MariaDB are needed")
    with _postgresql.run_server(binaries) as server, _mariadb.run_server(*programs) as mariadb:
        for database, there in (("postgresql", server.entry), ("mysql", mariadb.entry)):
            with new_databases(there) as [url], closing(ServerOutbox(url, clock=Clock())) as outbox:
                fill(outbox)
                contents.append(content(outbox))
                (PLACE / f"{name}.{database}.sql").write_text(dump(url, database, number), encoding="utf-8")
    if any(other != contents[0] for other in contents):
        sys.exit(f"the stores differ: {contents}")
    (PLACE / f"{name}.json").write_text(f"{json.dumps(contents[0], indent=1)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

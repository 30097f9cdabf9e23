"""
Outboxes in a database server, for the tests of every store and those of the server store.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

import pytest

from remotion_licensing_integrations.outbox import ServerOutbox

_numbers = itertools.count()


def to_url(entry: dict[str, Any], name: str | None = None, **options: str) -> str:
    """
    Return the URL of a database that is an entry for Django's `DATABASES`, or of the one of that *name* beside it.
    """
    where = {"unix_socket": entry["OPTIONS"]["unix_socket"]} if _is_mysql(entry) else {"host": entry["HOST"]}
    if not _is_mysql(entry):
        where["port"] = entry["PORT"]
    scheme, host = ("mysql+pymysql", "localhost") if _is_mysql(entry) else ("postgresql+psycopg", "")
    query = "&".join(f"{option}={quote(value)}" for option, value in (where | options).items())
    return f"{scheme}://{entry['USER']}@{host}/{name or entry['NAME']}?{query}"


def _is_mysql(entry: dict[str, Any]) -> bool:
    return bool(entry["ENGINE"].endswith("mysql"))


@contextmanager
def emptied(request: pytest.FixtureRequest, fixture: str, clock: Callable[[], float] | None) -> Iterator[Any]:
    """
    An empty `ServerOutbox` in the database of a *fixture*.
    """
    with closing(ServerOutbox(to_url(request.getfixturevalue(fixture)), clock=clock)) as outbox:
        empty(outbox)
        yield outbox


def empty(outbox: Any) -> None:
    """
    Delete what an outbox holds.
    """
    for table in outbox._connection.tables[:3]:
        outbox._connection.change(f"DELETE FROM {table}", {})


@contextmanager
def connected(url: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """
    Have a session at the server of *url* beside those of outboxes, as a function that runs a statement.
    """
    with closing(ServerOutbox(url)._server._driver.connect()) as connection, connection.cursor() as cursor:
        yield lambda sql, values=None: run(cursor, sql, values)


def run(cursor: Any, sql: str, values: object = None) -> list[tuple[Any, ...]]:
    """
    Run a statement and return its rows.
    """
    cursor.execute(sql, values)
    return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


def need_skip_locked(url: str) -> None:
    """
    Skip the test when the server of *url* is of the one version that cannot skip locked rows.
    """
    with connected(url) as execute_there:
        [(version,)] = execute_there("SELECT VERSION()")
    if version.startswith("10.5."):
        pytest.skip("MariaDB 10.5 waits for locked rows")  # pragma: no cover - the suite has a later one by default


@contextmanager
def new_databases(entry: dict[str, Any], number: int = 1, *, options: str = "") -> Iterator[list[str]]:
    """
    Have so many new databases with *options* beside that of *entry*, and their URLs, while the context lasts.
    """
    names = [f"remotion_new_{next(_numbers)}" for _ in range(number)]
    with connected(to_url(entry)) as execute_there:
        for name in names:
            execute_there(f"CREATE DATABASE {name} {options}")
        yield [to_url(entry, name) for name in names]
        for name in names:
            execute_there(f"DROP DATABASE {name}")


def execute(outbox: Any, sql: str, values: object = None) -> list[tuple[Any, ...]]:
    """
    Run a statement of a test's own in a session of the outbox, and return its rows.
    """
    rows: list[tuple[Any, ...]] = outbox._connection._run(lambda session: run(session._cursor, sql, values))
    return rows

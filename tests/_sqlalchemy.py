"""
Outboxes in a database server, for the tests of every store and those of SQLAlchemy's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

import pytest

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
    An empty `SQLAlchemyOutbox` in the database of a *fixture*.
    """
    entry = request.getfixturevalue(fixture)
    pytest.importorskip("sqlalchemy")
    from remotion_licensing_integrations.outbox.sqlalchemy import SQLAlchemyOutbox  # noqa: PLC0415 - an extra

    with closing(SQLAlchemyOutbox(to_url(entry), clock=clock)) as outbox:
        execute(outbox, "DELETE FROM remotion_usage_point")
        yield outbox


@contextmanager
def new_databases(entry: dict[str, Any], number: int = 1) -> Iterator[list[str]]:
    """
    Have so many new databases beside that of *entry*, and their URLs, while the context lasts.
    """
    import sqlalchemy  # noqa: PLC0415 - an extra

    names = [f"remotion_new_{next(_numbers)}" for _ in range(number)]
    engine = sqlalchemy.create_engine(to_url(entry), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            for name in names:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            yield [to_url(entry, name) for name in names]
            for name in names:
                connection.exec_driver_sql(f"DROP DATABASE {name}")
    finally:
        engine.dispose()


def execute(outbox: Any, sql: str, **values: object) -> list[tuple[Any, ...]]:
    """
    Run a statement of a test's own in a session of the outbox, and return its rows.
    """
    from sqlalchemy import text  # noqa: PLC0415 - an extra

    def work(connection: Any) -> list[tuple[Any, ...]]:
        result = connection.execute(text(sql), values)
        return [tuple(row) for row in result] if result.returns_rows else []

    rows: list[tuple[Any, ...]] = outbox._server.run(work)
    return rows

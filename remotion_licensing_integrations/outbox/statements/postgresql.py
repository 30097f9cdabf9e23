"""
PostgreSQL, by the server's own driver and through Django: every verb is one statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import ClassVar

from ..connection import Connection, Row, Tables, Values
from ..rows import POINT
from .base import CHANGE, INSERT, NEW, ON_CONFLICT, UNANSWERED, Statements, name_fingerprints
from .totals import ADD_TOTALS, INSERT_TOTALS, OLD, PRUNE_STEP, select_kept


class PostgreSQL(Statements):
    """
    Rows are sent as JSON, and the statement that changes rows returns them.
    """

    # A subquery, evaluated once: the function alone may change from row to row, so that no index can be used.
    clock: ClassVar[str | None] = "(SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8)"
    moments: ClassVar[tuple[str, str]] = ("float8", "timestamptz")
    one_of: ClassVar[str] = "= ANY(%(keys)s::text[])"
    # Django's session has the time zone of its datetimes.
    days: ClassVar[tuple[str, str]] = ("FLOOR({} / 86400)::int", "({}::date - DATE '1970-01-01')")

    def __init__(self, tables: Tables, *, clocked: bool) -> None:
        super().__init__(tables, clocked=clocked)
        new, change = (
            f"json_to_recordset(%(rows)s::json) AS new({', '.join(map(' '.join, types.items()))})"
            for types in (NEW, CHANGE)
        )
        self.add: str = self._text(f"{INSERT} SELECT {', '.join(NEW)}, 0, {{now}} FROM {new} {ON_CONFLICT}")
        updated = self._updated("new.{}")
        # Only pending points have a token; a condition for it would read the index of all pending points.
        self.update: str = self._text(f"""
            UPDATE {{points}} SET {updated} FROM {change} WHERE {{points}}.id = new.id AND {{points}}.token = new.token
        """)
        # An array, because a subquery with a limit may run more than once.
        old = f"SELECT id FROM {{points}} WHERE {OLD} LIMIT {PRUNE_STEP} FOR UPDATE SKIP LOCKED"
        self._pruning = self._text(f"""
            WITH old AS (DELETE FROM {{points}} WHERE id = ANY(ARRAY({old})) RETURNING *),
                kept AS ({INSERT_TOTALS} {select_kept("old")} {ADD_TOTALS})
            SELECT COUNT(*) FROM old
        """)

    @cache  # noqa: B019 - there is one object for each set of tables
    def claiming(self, count: int) -> str:
        """
        Return the statement that claims points with one of *count* fingerprints.
        """
        point = ", ".join(f"{{points}}.{name}" for name in POINT)
        return self._text(f"""
            WITH taken AS ({self._due(count, "FOR UPDATE SKIP LOCKED")})
            UPDATE {{points}} SET unanswered_since = {UNANSWERED}, due = {{now}} + %(lease)s::float8,
                token = %(token)s::text, attempts = {{points}}.attempts + 1
            FROM taken WHERE {{points}}.id = taken.id
            RETURNING taken.due, {{points}}.id, {{points}}.attempts - 1, {{points}}.unanswered_since, {point}
        """)

    def add_rows(self, connection: Connection, rows: Sequence[Values], now: Values) -> None:
        connection.change(self.add, {"rows": _to_json(rows), **now})

    def update_rows(self, connection: Connection, rows: Sequence[Values], now: Values) -> int:
        return connection.change(self.update, {"rows": _to_json(rows), **now})

    def claim(self, connection: Connection, fingerprints: Sequence[str], values: Values) -> list[Row]:
        return connection.rows(self.claiming(len(fingerprints)), {**values, **name_fingerprints(fingerprints)})

    def prune(self, connection: Connection, values: Values) -> int:
        [(count,)] = connection.rows(self._pruning, values)
        return int(count)

    def _text(self, template: str) -> str:
        return template.format(**self._words)


def _to_json(rows: Iterable[Values]) -> str:
    # A missing field is NULL; a JSON null is not.
    present = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return json.dumps(present, ensure_ascii=False)

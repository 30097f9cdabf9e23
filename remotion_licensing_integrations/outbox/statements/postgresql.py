"""
PostgreSQL, by the server's own driver and through Django: every verb is one statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ..connection import Connection, Row, Tables, Values
from ..rows import POINT
from .base import CHANGE, DUE, FAR, INSERT, NEW, ON_CONFLICT, UNANSWERED, Statements
from .totals import ADD_TOTALS, INSERT_TOTALS, OLD, PRUNE_STEP, select_kept


class PostgreSQL(Statements):
    """
    Rows are sent as JSON, and the statement that changes rows returns them.
    """

    # A subquery, evaluated once: the function alone may change from row to row, so that no index can be used.
    clock = "(SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8)"
    moments = ("float8", "timestamptz")
    one_of = "= ANY(%(keys)s::text[])"
    # Django's session has the time zone of its datetimes.
    days = ("FLOOR({} / 86400)::int", "({}::date - DATE '1970-01-01')")

    def __init__(self, tables: Tables, *, clocked: bool) -> None:
        super().__init__(tables, clocked=clocked)
        new, change = (
            f"json_to_recordset(%(rows)s::json) AS new({', '.join(map(' '.join, types.items()))})"
            for types in (NEW, CHANGE)
        )
        self.add = self._text(f"{INSERT} SELECT {', '.join(NEW)}, 0, {{now}} FROM {new} {ON_CONFLICT}")
        updated = self._updated("new.{}")
        # Only pending points have a token; a condition for it would read the index of all pending points.
        self.update = self._text(f"""
            UPDATE {{points}} SET {updated} FROM {change} WHERE {{points}}.id = new.id AND {{points}}.token = new.token
        """)
        due, far = (
            f"""(
                SELECT found.* FROM unnest(%(fingerprints)s::text[]) AS wanted(key_fingerprint) CROSS JOIN LATERAL (
                    SELECT id, due FROM {{points}} WHERE key_fingerprint = wanted.key_fingerprint AND {rows}
                    ORDER BY due, id LIMIT %(size)s::int FOR UPDATE SKIP LOCKED
                ) AS found
            )"""
            for rows in (DUE, FAR)
        )
        point = ", ".join(f"{{points}}.{name}" for name in POINT)
        self.claiming = self._text(f"""
            WITH due AS {due}, far AS {far}
            UPDATE {{points}} SET unanswered_since = {UNANSWERED}, due = {{now}} + %(lease)s::float8,
                token = %(token)s::text, attempts = {{points}}.attempts + 1
            FROM (
                SELECT * FROM due UNION ALL SELECT * FROM far ORDER BY due, id LIMIT %(size)s::int
            ) AS taken
            WHERE {{points}}.id = taken.id
            RETURNING taken.due, {{points}}.id, {{points}}.attempts - 1, {{points}}.unanswered_since, {point}
        """)
        # An array, because a subquery with a limit may run more than once.
        old = f"SELECT id FROM {{points}} WHERE {OLD} LIMIT {PRUNE_STEP} FOR UPDATE SKIP LOCKED"
        self._pruning = self._text(f"""
            WITH old AS (DELETE FROM {{points}} WHERE id = ANY(ARRAY({old})) RETURNING *),
                kept AS ({INSERT_TOTALS} {select_kept("old")} {ADD_TOTALS})
            SELECT COUNT(*) FROM old
        """)

    def add_rows(self, connection: Connection, rows: Sequence[Values], now: Values) -> None:
        connection.change(self.add, {"rows": _to_json(rows), **now})

    def update_rows(self, connection: Connection, rows: Sequence[Values], now: Values) -> int:
        return connection.change(self.update, {"rows": _to_json(rows), **now})

    def claim(self, connection: Connection, fingerprints: Sequence[str], values: Values) -> list[Row]:
        return connection.rows(self.claiming, {**values, "fingerprints": [*fingerprints]})

    def prune(self, connection: Connection, values: Values) -> int:
        [(count,)] = connection.rows(self._pruning, values)
        return int(count)

    def _text(self, template: str) -> str:
        return template.format(**self._words)


def _to_json(rows: Iterable[Values]) -> str:
    # A missing field is NULL; a JSON null is not.
    present = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return json.dumps(present, ensure_ascii=False)

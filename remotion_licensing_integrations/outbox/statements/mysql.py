"""
MySQL and MariaDB, by the server's own driver and through Django.
"""

from __future__ import annotations

from ..connection import Connection, Row, Session, Tables, Values
from ..rows import POINT
from .base import CHANGE, DUE, FAR, INSERT, NEW, OUTCOME, UNANSWERED, Statements

_TYPES = {"text": "VARCHAR(500)", "float8": "DOUBLE", "bigint": "BIGINT", "int": "INT", "boolean": "BOOLEAN"}


class MySQL(Statements):
    """
    Rows are sent as JSON; claiming takes a transaction, because an UPDATE returns no rows.
    """

    clock = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6)"
    moments = ("DOUBLE", "DATETIME(6)")
    one_of = "IN %(keys)s"

    def __init__(self, tables: Tables, *, clocked: bool) -> None:
        super().__init__(tables, clocked=clocked)
        new, change = (
            f"JSON_TABLE(%(rows)s, '$[*]' COLUMNS ({', '.join(self._column(*item) for item in types.items())})) AS new"
            for types in (NEW, CHANGE)
        )
        # A derived table, so that the assignments can name its columns.
        fresh = f"SELECT * FROM (SELECT new.*, 0 AS attempts, {{now}} AS due FROM {new}) AS fresh"
        gives_way = "{points}.state = 'deferred' AND fresh.state = 'pending'"
        outcome = ", ".join(f"{name} = IF({gives_way}, fresh.{name}, {{points}}.{name})" for name in OUTCOME)
        self.add = self._text(f"{INSERT} {fresh} ON DUPLICATE KEY UPDATE {outcome}")
        updated = self._updated("new.{}", prefix="{points}.")
        # As bytes, because the table's collation need not be that of the JSON.
        self.update = self._text(f"""
            UPDATE {{points}} JOIN {change} ON {{points}}.id = new.id AND {{points}}.token = CAST(new.token AS BINARY)
            SET {updated}
        """)
        # Without the index MySQL locks and sorts all rows that could be claimed.
        self._due, self._far = (
            self._text(f"""
                SELECT due, id, attempts, {UNANSWERED}, {", ".join(POINT)}
                FROM {{points}} FORCE INDEX ({{due_index}})
                WHERE {rows} ORDER BY due, id LIMIT %(size)s FOR UPDATE SKIP LOCKED
            """)
            for rows in (DUE, FAR)
        )
        # MySQL assigns from left to right: the first assignment reads what the others change.
        self._take = self._text(f"""
            UPDATE {{points}} SET unanswered_since = {UNANSWERED}, due = {{now}} + %(lease)s, token = %(token)s,
                attempts = attempts + 1
            WHERE id IN %(rows)s
        """)
        pause = "SELECT %(deliverer)s AS deliverer, %(reason)s AS reason, {now} AS since, {now} + %(seconds)s AS until"
        self.pause = self._text(f"""
            INSERT INTO {{pauses}} (deliverer, reason, since, until) SELECT * FROM ({pause}) AS fresh
            ON DUPLICATE KEY UPDATE reason = fresh.reason, until = fresh.until
        """)

    def claim(self, connection: Connection, values: Values) -> list[Row]:
        return connection.transact(lambda session: self._claimed(session, values))

    def _claimed(self, session: Session, values: Values) -> list[Row]:
        rows = session.rows(self._due, values)
        if left := values["size"] - len(rows):
            rows += session.rows(self._far, {**values, "size": left})
        if rows:
            session.change(self._take, {**values, "rows": [row[1] for row in rows]})
        return rows

    @staticmethod
    def _column(name: str, type_name: str) -> str:
        return f"{name} {_TYPES.get(type_name, type_name)} PATH '$.{name}'"

"""
MySQL and MariaDB, by the server's own driver and through Django.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from ..connection import Connection, Row, Session, Tables, Values
from ..rows import POINT
from .base import (
    DUE,
    FAR,
    INSERT,
    NEW,
    OUTCOME,
    UNANSWERED,
    Statements,
    change_each,
    split,
    to_parameters,
)
from .totals import INSERT_TOTALS, OLD, PRUNE_STEP, select_kept

#: Rows of one statement, as many as are committed together; each is a SELECT for the server to keep in memory.
_MAX_ROWS: Final = 256
#: The place of the rows in a statement, until their number is known.
_GIVEN: Final = "{given}"
#: In comments that only servers read which can do so: MySQL from 8.0.1 on, and MariaDB from 10.6 on, which passes over
#: those for MySQL 5.7 to 9.99 (https://mariadb.com/kb/en/comment-syntax). MariaDB 10.5 waits for the rows that another
#: claim has locked (tests/outbox/test_contract_servers.py::test_claim_passes_locked_points).
_SKIP_LOCKED: Final = "/*!80001 SKIP LOCKED *//*M!100600 SKIP LOCKED */"


class MySQL(Statements):
    """
    Rows are sent as parameters of a derived table; claiming takes a transaction, because an UPDATE returns no rows.
    """

    clock: ClassVar[str | None] = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6)"
    one_of: ClassVar[str] = "IN %(keys)s"
    days: ClassVar[tuple[str, str]] = ("FLOOR({} / 86400)", "DATEDIFF({}, '1970-01-01')")

    def __init__(self, tables: Tables, *, clocked: bool) -> None:
        super().__init__(tables, clocked=clocked)
        self._words["given"] = _GIVEN
        # A derived table, so that the assignments can name its columns.
        columns = ", ".join(NEW)
        fresh = f"SELECT * FROM (SELECT {columns}, 0 AS attempts, {{now}} AS due FROM ({{given}}) AS new) AS fresh"
        gives_way = "{points}.state = 'deferred' AND fresh.state = 'pending'"
        outcome = ", ".join(f"{name} = IF({gives_way}, fresh.{name}, {{points}}.{name})" for name in OUTCOME)
        self.add: str = self._text(f"{INSERT} {fresh} ON DUPLICATE KEY UPDATE {outcome}")
        updated = self._updated("new.{}", prefix="{points}.")
        # As bytes, because the table's collation need not be that of the session.
        self.update: str = self._text(f"""
            UPDATE {{points}} JOIN ({{given}}) AS new
                ON {{points}}.id = new.id AND {{points}}.token = CAST(new.token AS BINARY)
            SET {updated}
        """)
        # Without the index MySQL locks and sorts all rows that could be claimed.
        self._claimable = [
            self._text(f"""
                SELECT due, id, attempts, {UNANSWERED}, {", ".join(POINT)}
                FROM {{points}} FORCE INDEX ({{due_index}})
                WHERE key_fingerprint = %(fingerprint)s AND {rows}
                ORDER BY due, id LIMIT %(size)s FOR UPDATE {_SKIP_LOCKED}
            """)
            for rows in (DUE, FAR)
        ]
        # MySQL assigns from left to right: the first assignment reads what the others change.
        self._take = self._text(f"""
            UPDATE {{points}} SET unanswered_since = {UNANSWERED}, due = {{now}} + %(lease)s, token = %(token)s,
                attempts = attempts + 1
            WHERE id IN %(rows)s
        """)
        self._old = self._text(f"""
            SELECT id FROM {{points}} WHERE {OLD} ORDER BY due, id LIMIT {PRUNE_STEP} FOR UPDATE {_SKIP_LOCKED}
        """)
        kept = f"SELECT * FROM ({select_kept('{points} WHERE id IN %(rows)s')}) AS fresh"
        self._keep = self._text(f"""
            {INSERT_TOTALS} {kept} ON DUPLICATE KEY UPDATE number = {{totals}}.number + fresh.number
        """)
        self._delete = self._text("DELETE FROM {points} WHERE id IN %(rows)s")
        pause = "SELECT %(deliverer)s AS deliverer, %(reason)s AS reason, {now} AS since, {now} + %(seconds)s AS until"
        self.pause: str = self._text(f"""
            INSERT INTO {{pauses}} (deliverer, reason, since, until) SELECT * FROM ({pause}) AS fresh
            ON DUPLICATE KEY UPDATE reason = fresh.reason, until = fresh.until
        """)

    def add_rows(self, connection: Connection, rows: Sequence[Values], now: Values) -> None:
        _change(connection, self.add, rows, now)

    def update_rows(self, connection: Connection, rows: Sequence[Values], now: Values) -> int:
        return _change(connection, self.update, rows, now)

    def claim(self, connection: Connection, fingerprints: Sequence[str], values: Values) -> list[Row]:
        return connection.transact(lambda session: self._claimed(session, fingerprints, values))

    def _claimed(self, session: Session, fingerprints: Sequence[str], values: Values) -> list[Row]:
        rows: list[Row] = []
        for sql in self._claimable:
            if left := values["size"] - len(rows):
                wanted = [{**values, "size": left, "fingerprint": fingerprint} for fingerprint in fingerprints]
                rows += sorted((row for each in wanted for row in session.rows(sql, each)), key=lambda row: row[:2])[
                    :left
                ]
        if rows:
            session.change(self._take, {**values, "rows": [row[1] for row in rows]})
        return rows

    def prune(self, connection: Connection, values: Values) -> int:
        return connection.transact(lambda session: self._pruned(session, values))

    def _pruned(self, session: Session, values: Values) -> int:
        rows = {"rows": [row[0] for row in session.rows(self._old, values)]}
        return session.change(self._keep, rows) and session.change(self._delete, rows) if rows["rows"] else 0


def _change(connection: Connection, sql: str, rows: Sequence[Values], now: Values) -> int:
    def change(session: Session, part: Sequence[Values]) -> int:
        return session.change(sql.replace(_GIVEN, _select(part)), {**to_parameters(part), **now})

    return change_each(connection, split(rows, _MAX_ROWS), change)


def _select(rows: Sequence[Values]) -> str:
    return " UNION ALL ".join(
        f"SELECT {', '.join(f'%({column}_{index})s AS {column}' for column in row)}" for index, row in enumerate(rows)
    )

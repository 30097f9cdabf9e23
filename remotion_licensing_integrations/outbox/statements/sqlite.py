"""
SQLite, in a file and through Django. From 3.24 on: without JSON, `UPDATE … FROM` and `RETURNING`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..connection import Connection, Row, Session, Tables, Values
from ..rows import POINT
from .base import DUE, FAR, INSERT, NEW, ON_CONFLICT, UNANSWERED, Statements


class SQLite(Statements):
    """
    A statement for each row; the present moment is this machine's.
    """

    def __init__(self, tables: Tables, *, clocked: bool) -> None:
        super().__init__(tables, clocked=clocked)
        values = ", ".join(f"%({name})s" for name in NEW)
        settled = self._settled("%({})s")
        self.add = self._text(f"{INSERT} VALUES ({values}, 0, {{now}}) {ON_CONFLICT}")
        self.settle = self._text(f"UPDATE {{points}} SET {settled} WHERE id = %(id)s AND token = %(token)s")
        columns = f"SELECT due, id, attempts, {UNANSWERED}, {', '.join(POINT)}, token"
        due, far = (
            f"SELECT * FROM ({columns} FROM {{points}} WHERE {rows} ORDER BY due, id LIMIT %(size)s)"
            for rows in (DUE, FAR)
        )
        self._find = self._text(f"{due} UNION ALL {far} LIMIT %(size)s")
        self._find_taken = self._text("SELECT id FROM {points} WHERE state = 'pending' AND token = %(token)s")
        # Each claim has a token of its own: a row that another has claimed since it was found has another one.
        self._take = self._text(f"""
            UPDATE {{points}} SET unanswered_since = {UNANSWERED}, due = {{now}} + %(lease)s, token = %(token)s,
                attempts = attempts + 1
            WHERE id = %(id)s AND state = 'pending' AND due = %(was_due)s AND token IS %(old_token)s
        """)

    def claim(self, connection: Connection, values: Values) -> list[Row]:
        # Found without the write lock: an idle deliverer must not disturb those who record. And taken by a transaction
        # that begins with a write: one that first reads fails when another process writes before it does.
        found = connection.rows(self._find, values)
        return connection.transact(lambda session: self._taken(session, found, values)) if found else []

    def _taken(self, session: Session, found: Sequence[Row], values: Values) -> list[Row]:
        keys = [{"was_due": row[0], "id": row[1], "old_token": row[-1], **values} for row in found]
        if session.change_each(self._take, keys) < len(found):
            ours = set(session.rows(self._find_taken, values))
            found = [row for row in found if (row[1],) in ours]
        return [row[:-1] for row in found]

    def change_keys(self, session: Session, sql: str, keys: Sequence[str], now: Values) -> int:
        return session.change_each(f"{sql} AND idempotency_key = %(key)s", [{"key": key, **now} for key in keys])

    def change_rows(self, session: Session, sql: str, rows: Sequence[dict[str, Any]], now: Values) -> int:
        for row in rows:
            row.update(now)
        return session.change_each(sql, rows)

"""
SQLite, in a file and through Django. From 3.24 on: without JSON, `UPDATE … FROM` and `RETURNING`.

Each verb is one statement for a batch, or nearly so. Python lets other threads run at every statement; a thread that
commits points one by one would wait for a busy event loop after each, while it holds the file's write lock
(`scripts/bench server`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import zip_longest
from typing import Any, ClassVar, Final

from ..connection import Connection, Row, Session, Tables, Values
from ..rows import POINT
from ..values import MAX_DELAY
from .base import (
    CHANGE,
    INSERT,
    NEW,
    ON_CONFLICT,
    UNANSWERED,
    Statements,
    change_each,
    name_fingerprints,
    split,
    to_parameters,
)
from .totals import ADD_TOTALS, INSERT_TOTALS, OLD, PRUNE_STEP, select_kept

#: Rows that one statement stores, and rows that it names: before 3.32 it takes 999 parameters.
_MAX_STORED: Final = 64
_MAX_NAMED: Final = 512


class SQLite(Statements):
    """
    Rows are sent as parameters; the clock is this machine's.
    """

    unindexed: ClassVar[str] = "+"
    # Without statistics SQLite takes the index of states, and reads all pending points when none is for a key.
    by_due: ClassVar[str] = " INDEXED BY {due_index}"
    days: ClassVar[tuple[str, str]] = (
        "CAST({} / 86400 AS INTEGER)",
        "COALESCE(CAST(julianday(SUBSTR({}, 1, 10)) - 2440587.5 AS INTEGER), 0)",
    )

    def __init__(self, tables: Tables, *, clocked: bool) -> None:
        super().__init__(tables, clocked=clocked)
        self._insert, self._on_conflict = self._text(f"{INSERT} VALUES "), self._text(ON_CONFLICT)
        self.update: str = self._text(
            f"UPDATE {{points}} SET {self._updated('%({})s')} WHERE token = %(token)s AND id IN "
        )
        # A row that another deliverer has claimed in between is due later now. The plus makes SQLite look rows up by
        # their ids only.
        self._take = self._text(f"""
            UPDATE {{points}} SET unanswered_since = {UNANSWERED}, due = {{now}} + %(lease)s, token = %(token)s,
                attempts = attempts + 1
            WHERE +state = 'pending' AND (+due <= {{now}} OR +due > {{now}} + {MAX_DELAY}) AND id IN
        """)
        self._taken = self._text(f"""
            SELECT id, attempts - 1, unanswered_since, {", ".join(POINT)} FROM {{points}}
            WHERE token = %(token)s AND id IN
        """)
        # The same points in both statements: a transaction that has begun with a write is the only one.
        old = f"id IN (SELECT id FROM {{points}} WHERE {OLD} ORDER BY due, id LIMIT {PRUNE_STEP})"
        self._keep = self._text(f"{INSERT_TOTALS} {select_kept(f'{{points}} WHERE {old}')} {ADD_TOTALS}")
        self._delete = self._text(f"DELETE FROM {{points}} WHERE {old}")

    def claim(self, connection: Connection, fingerprints: Sequence[str], values: Values) -> list[Row]:
        # Found without the write lock: an idle deliverer must not disturb writers. Taken by one statement, which is a
        # transaction: a transaction that reads first fails when another process writes before it does.
        wanted = {**values, **name_fingerprints(fingerprints)}
        due = {row[1]: row[0] for row in connection.rows(self._find(len(fingerprints)), wanted)}
        rows: list[Row] = []
        for named, ids in _named([*due]):
            taking = {**values, **ids}
            if connection.change(self._take + named, taking):
                rows += connection.rows(self._taken + named, taking)
        return [(due[row[0]], *row) for row in rows]

    def add_rows(self, connection: Connection, rows: Sequence[Values], now: Values) -> None:
        change_each(
            connection,
            split(rows, _MAX_STORED),
            lambda session, part: session.change(self._store(len(part)), {**to_parameters(part), **now}),
        )

    def update_rows(self, connection: Connection, rows: Sequence[Values], now: Values) -> int:
        # Equal changes share a statement: most points are registered, with the same answer.
        # `to_change` gives the values in the order of `CHANGE`.
        groups: dict[tuple[Any, ...], list[int]] = {}
        for row in rows:
            identity, *change = row.values()
            groups.setdefault(tuple(change), []).append(identity)
        _, *names = CHANGE
        statements = [
            (self.update + named, {**dict(zip(names, group, strict=True)), **keys, **now})
            for group, ids in groups.items()
            for named, keys in _named(ids)
        ]
        return change_each(connection, statements, lambda session, statement: session.change(*statement))

    def change_keys(self, connection: Connection, sql: str, keys: Sequence[str], now: Values) -> int:
        statements = [(f"{sql} AND idempotency_key IN {named}", {**values, **now}) for named, values in _named(keys)]
        return change_each(connection, statements, lambda session, statement: session.change(*statement))

    def prune(self, connection: Connection, values: Values) -> int:
        def keep_and_delete(session: Session) -> int:
            return session.change(self._keep, values) and session.change(self._delete, values)

        return connection.transact(keep_and_delete)

    @cache  # noqa: B019 - there is one object for each set of tables
    def _find(self, count: int) -> str:
        return self._text(self._due(count))

    @cache  # noqa: B019 - there is one object for each set of tables
    def _store(self, count: int) -> str:
        now = self._words["now"]
        rows = (f"({', '.join(f'%({name}_{row})s' for name in NEW)}, 0, {now})" for row in range(count))
        return self._text(f"{self._insert}{', '.join(rows)}{self._on_conflict}")


def _named(values: Sequence[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """
    Split *values* into lists of parameters; yield the SQL and the parameters of each.
    """
    for part in split(values, _MAX_NAMED):
        # Repeated up to a power of two, so that there are few texts to prepare.
        names, named = _list(1 << (len(part) - 1).bit_length())
        yield named, dict(zip_longest(names, part, fillvalue=part[-1]))


@cache
def _list(size: int) -> tuple[list[str], str]:
    names = [f"value_{index}" for index in range(size)]
    return names, f"({', '.join(f'%({name})s' for name in names)})"

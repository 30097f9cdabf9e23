"""
The statements that all databases share, and parts of the others.

Parameters are `%(name)s`, as the drivers take them, with PostgreSQL's casts (`%(size)s::int`): its driver binds on the
server, where a parameter has no type. For the other databases the casts are cut.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any, ClassVar, Final

from ..connection import Connection, Row, Session, T, Tables, Values
from ..rows import POINT, PROGRESS
from ..totals import Dimension
from ..values import MAX_DELAY, PAUSE_GRACE, State
from .totals import OLD, select_totals

#: The values of a new point, and those of a change to a claimed one, with PostgreSQL's types.
NEW: Final = {
    "idempotency_key": "text",
    "event": "text",
    "host": "text",
    "succeeded": "boolean",
    "is_still": "boolean",
    "is_production": "boolean",
    "occurred_at": "{moment}",
    "label": "text",
    "key_fingerprint": "text",
    "state": "text",
}
CHANGE: Final = {
    "id": "bigint",
    "token": "text",
    "state": "text",
    "delay": "float8",
    "handed_back": "int",
    "unanswered": "boolean",
    "last_error": "text",
    "billable": "boolean",
    "classification": "text",
}
#: The columns that an outcome sets in its deferred point. The state, on which the others depend, comes last: MySQL
#: assigns from left to right.
OUTCOME: Final = (*POINT[1:], "due", "state")

#: The columns of an updated row; names in braces are values of the change.
_UPDATED: Final = {
    **{name: f"{{{name}}}" for name in ("state", "last_error", "billable", "classification")},
    "token": "NULL",
    "due": "{{now}} + {delay}",
    "attempts": "attempts - {handed_back}",
    "unanswered_since": "COALESCE(unanswered_since, CASE WHEN {unanswered} THEN {{now}} END)",
}
#: A row that still has a token was claimed and never updated: its point may have been sent.
UNANSWERED: Final = "COALESCE({points}.unanswered_since, CASE WHEN {points}.token IS NOT NULL THEN {points}.due END)"
#: What can be claimed. No delay is as long as in the second, so there the clock was set back.
DUE: Final = "state = 'pending' AND due <= {now}"
FAR: Final = f"state = 'pending' AND due > {{now}} + {MAX_DELAY}"

#: What the API may bill.
BILLABLE: Final = "is_production AND succeeded IS NOT FALSE"

INSERT: Final = f"INSERT INTO {{points}} ({', '.join(NEW)}, attempts, due)"
ON_CONFLICT: Final = f"""
    ON CONFLICT (idempotency_key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in OUTCOME)}
    WHERE {{points}}.state = 'deferred' AND excluded.state = 'pending'
"""


class Statements(ABC):
    """
    The statements for the tables of one store.

    Args:
        clocked: Whether the current time comes as the parameter `now`; else it is the server's.

    Attributes:
        clock: Epoch seconds by the server's clock, which all machines share; `None` where there is no server.
        moments: The types of `occurred_at`: epoch seconds, and date and time.
        unindexed: What keeps a column from being looked up in an index, where the planner does not know better.
        by_due: What makes a statement use the index of claims, behind the table; empty where the planner knows best.
        one_of: The condition behind a column that must be one of the parameter `keys`.
        days: The number of the day of a moment in epoch seconds, and of a date and time.
    """

    clock: ClassVar[str | None] = None
    moments: ClassVar[tuple[str, str]] = ("", "")
    unindexed: ClassVar[str] = ""
    one_of: ClassVar[str] = ""
    by_due: ClassVar[str] = ""
    days: ClassVar[tuple[str, str]] = ("", "")

    def __init__(self, tables: Tables, *, clocked: bool) -> None:
        moment = self.moments[tables.has_datetimes]
        occurred_day, due_day = self.days[tables.has_datetimes].format("occurred_at"), self.days[0].format("due")
        self._words = {
            **tables._asdict(),
            "moment": moment,
            "now": "%(now)s::float8" if clocked else self.clock,
            "occurred_day": occurred_day,
            "due_day": due_day,
            "unindexed": self.unindexed,
        }
        pending = f"FROM {{points}}{self.by_due} WHERE state = 'pending' AND key_fingerprint = %(fingerprint)s::text"
        self.next_due: str = self._text(f"SELECT (SELECT MIN(due) {pending}), (SELECT MAX(due) {pending}), {{now}}")
        self.counts: str = self._text("""
            SELECT state, COUNT(*), COUNT(CASE WHEN due > {now} THEN token END), MIN(occurred_at)
            FROM {points} GROUP BY state
        """)
        up_to = "id <= (SELECT id FROM {points} WHERE idempotency_key = %(key)s::text)"
        expected = f"""
            SELECT event, key_fingerprint, COUNT(*), state, NULL FROM {{points}} WHERE {BILLABLE} AND (
                state = 'pending' OR (state = 'deferred' AND occurred_at >= %(since)s::{{moment}})
            )
        """
        # With the latest row; one statement sees one state of the table.
        latest = "SELECT '', '', 0, '', COALESCE(MAX(id), 0) FROM {points}"
        by_state = f"GROUP BY event, key_fingerprint, state UNION ALL {latest}"
        self.expected: str = self._text(f"{expected} {by_state}")
        self.expected_until: str = self._text(f"{expected} AND {up_to} {by_state}")
        added = "SELECT event, key_fingerprint, COUNT(*) FROM {points} WHERE id > %(row)s::bigint"
        added = f"{added} AND state <> 'rejected' AND {BILLABLE}"
        grouped = "GROUP BY event, key_fingerprint"
        self.added_after: str = self._text(f"{added} {grouped}")
        self.added_until: str = self._text(f"{added} AND {up_to} {grouped}")
        self.reject: str = self._text("""
            UPDATE {points} SET state = 'rejected', due = {now}, token = NULL, last_error = %(reason)s::text
            WHERE id = %(row)s::bigint AND token = %(token)s::text
        """)
        self.retry: str = self._text("""
            UPDATE {points} SET state = 'pending', due = {now}, attempts = 0, unanswered_since = NULL
            WHERE state IN ('rejected', 'held')
        """)
        # The order of assignments matters to MySQL, which assigns from left to right.
        doubt = "unanswered_since IS NOT NULL OR token IS NOT NULL"
        self.adopt: str = self._text(f"""
            UPDATE {{points}} SET key_fingerprint = %(new)s::text,
                last_error = CASE WHEN {doubt} THEN %(reason)s::text ELSE last_error END,
                state = CASE WHEN {doubt} THEN 'held' ELSE state END,
                unanswered_since = COALESCE(unanswered_since, CASE WHEN token IS NOT NULL THEN due END),
                due = {{now}}, token = NULL
            WHERE state = 'pending' AND key_fingerprint = %(old)s::text AND (token IS NULL OR due <= {{now}})
        """)
        self.confirm: str = self._text("""
            UPDATE {points} SET state = 'registered', due = COALESCE(unanswered_since, {now}), last_error = NULL
            WHERE state = 'held'
        """)
        self.oldest: str = self._text("SELECT (SELECT MIN(occurred_at) FROM {points}), (SELECT MIN(day) FROM {totals})")
        self.count_old: str = self._text(f"SELECT COUNT(*) FROM {{points}} WHERE {OLD}")
        self.pauses: str = self._text(f"""
            SELECT deliverer, reason, since, until FROM {{pauses}} WHERE until > {{now}} - {PAUSE_GRACE}
            ORDER BY since, deliverer
        """)
        self.forget_pauses: str = self._text(f"DELETE FROM {{pauses}} WHERE until <= {{now}} - {PAUSE_GRACE}")
        self.resume: str = self._text("DELETE FROM {pauses} WHERE deliverer = %(deliverer)s::text")
        self.pause: str = self._text("""
            INSERT INTO {pauses} (deliverer, reason, since, until)
            VALUES (%(deliverer)s::text, %(reason)s::text, {now}, {now} + %(seconds)s::float8)
            ON CONFLICT (deliverer) DO UPDATE SET reason = excluded.reason, until = excluded.until
        """)

    def select(self, *conditions: str) -> str:
        """
        Return the statement for the latest rows that meet *conditions*; a row begins with current time and id.
        """
        columns, where = ", ".join(POINT + PROGRESS), " AND ".join(["1 = 1", *conditions])
        return self._text(
            f"SELECT {{now}}, id, {columns} FROM {{points}} WHERE {where} ORDER BY id DESC LIMIT %(limit)s::int"
        )

    def totals(self, by: Sequence[Dimension], *, registered: bool, waiting: bool, limits: Collection[str]) -> str:
        """
        Return the statement for the groups of *by*, see `select_totals`.
        """
        return self._text(select_totals(by, registered=registered, waiting=waiting, limits=limits))

    def discard(self, states: Iterable[State]) -> str:
        """
        Return the statement that deletes points in one of *states*.
        """
        names = ", ".join(f"'{state.value}'" for state in states)
        return self._text(f"DELETE FROM {{points}} WHERE state IN ({names})")

    @abstractmethod
    def add_rows(self, connection: Connection, rows: Sequence[Values], now: Values) -> None:
        """
        Store new points; no key may be in *rows* twice.
        """

    @abstractmethod
    def update_rows(self, connection: Connection, rows: Sequence[Values], now: Values) -> int:
        """
        Apply changes to claimed points, and return how many took effect; no claim may be in *rows* twice.
        """

    def change_keys(self, connection: Connection, sql: str, keys: Sequence[str], now: Values) -> int:
        """
        Run *sql*, which ends in conditions, for the points with these keys; return how many it has changed.
        """
        return connection.change(f"{sql} AND idempotency_key {self.one_of}", {"keys": [*keys], **now})

    @abstractmethod
    def claim(self, connection: Connection, fingerprints: Sequence[str], values: Values) -> list[Row]:
        """
        Claim `size` points with one of *fingerprints* for `lease` seconds with `token`.

        Returns a row for each: when it was due, id, attempts before, unanswered since, and the columns `POINT`.
        """

    @abstractmethod
    def prune(self, connection: Connection, values: Values) -> int:
        """
        Delete up to `PRUNE_STEP` old points and add them to the daily totals, as one transaction; return how many.
        """

    def _due(self, count: int, ending: str = "") -> str:
        # For each of *count* fingerprints apart, as an index answers each: up to `size` ids that can be claimed.
        parts = (
            f"""
                SELECT * FROM (
                    SELECT due, id FROM {{points}}{self.by_due}
                    WHERE key_fingerprint = %(fingerprint_{index})s::text AND {rows}
                    ORDER BY due, id LIMIT %(size)s::int {ending}
                ) AS {name}_{index}
            """
            for index in range(count)
            for name, rows in (("due", DUE), ("far", FAR))
        )
        return f"{' UNION ALL '.join(parts)} ORDER BY due, id LIMIT %(size)s::int"

    def _updated(self, value: str, *, prefix: str = "") -> str:
        # The assignments to an updated row; *value* is the form of a value of its change.
        values = {name: value.format(name) for name in CHANGE}
        return ", ".join(f"{prefix}{name} = {expression.format(**values)}" for name, expression in _UPDATED.items())

    def _text(self, template: str) -> str:
        # Twice, because the words have casts, too.
        return _CAST.sub("", _CAST.sub("", template).format(**self._words))


_CAST: Final = re.compile(r"::(?:\w+(?:\[\])?|\{moment\})")


def name_fingerprints(fingerprints: Iterable[str]) -> dict[str, str]:
    """
    Return *fingerprints* as parameters.
    """
    return {f"fingerprint_{index}": fingerprint for index, fingerprint in enumerate(fingerprints)}


def to_parameters(rows: Sequence[Values]) -> dict[str, Any]:
    """
    Return the values of *rows*, which all have the same columns, as parameters: each is named `column_index`.
    """
    values = chain.from_iterable(row.values() for row in rows)
    return dict(zip(_names(tuple(rows[0]), len(rows)), values, strict=True))


@cache
def _names(columns: tuple[str, ...], count: int) -> list[str]:
    return [f"{column}_{index}" for index in range(count) for column in columns]


def split(values: Sequence[T], size: int) -> list[Sequence[T]]:
    """
    Return *values* in parts of up to *size*.
    """
    return [values[start : start + size] for start in range(0, len(values), size)]


def change_each(connection: Connection, parts: Sequence[T], change: Callable[[Session, T], int]) -> int:
    """
    Run *change* for each of *parts* as one transaction, and return how many rows these have changed.
    """
    # One statement is a transaction by itself.
    if len(parts) == 1:
        return change(connection, parts[0])
    return connection.transact(lambda session: sum(change(session, part) for part in parts))

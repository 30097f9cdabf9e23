"""
The statement that stores usage points, in the words of each database.

By hand, because one statement is one trip to the server: the ORM can leave stored rows as they are or overwrite them,
but not decide by what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper

from ..outbox import State
from ..points import UsagePoint
from .models import UsagePointRecord
from .records import to_naive

_FACTS: Final = ("event", "host", "succeeded", "is_still", "is_production")
# The state comes last, because MySQL assigns from left to right, and what the others become depends on it.
_CHANGED: Final = (*_FACTS, "occurred_at", "due", "state")
_INSERT: Final = f"""
    INSERT INTO {{table}} (idempotency_key, {", ".join(_FACTS)}, occurred_at, state, attempts, due)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, {{due}})
"""
# A deferred point gives way to the one that brings its outcome.
_ON_CONFLICT: Final = f"""
    ON CONFLICT (idempotency_key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _CHANGED)}
    WHERE {{table}}.state = 'deferred' AND excluded.state = 'pending'
"""
_IN_MYSQL: Final = "{0} = IF(state = 'deferred' AND VALUES(state) = 'pending', VALUES({0}), {0})"
_ON_DUPLICATE_KEY: Final = f"ON DUPLICATE KEY UPDATE {', '.join(map(_IN_MYSQL.format, _CHANGED))}"


def insert(connection: BaseDatabaseWrapper, points: Sequence[UsagePoint], due: float | str) -> None:
    """
    Store *points* as `Outbox.add` has it, due at *due*: epoch seconds, or an SQL expression for them.
    """
    expression, parameters = (due, []) if isinstance(due, str) else ("%s", [due])
    template = _INSERT + (_ON_DUPLICATE_KEY if connection.vendor == "mysql" else _ON_CONFLICT)
    sql = template.format(table=UsagePointRecord._meta.db_table, due=expression)  # noqa: SLF001 - public, whatever its name
    rows = [[*_values(connection, point), *parameters] for point in points]
    with connection.cursor() as cursor:
        # PostgreSQL's driver sends many by other means, which one alone need not pay for.
        if len(rows) == 1:
            cursor.execute(sql, rows[0])
        else:
            cursor.executemany(sql, rows)


def _values(connection: BaseDatabaseWrapper, point: UsagePoint) -> list[Any]:
    state = State.DEFERRED if point.succeeded is None else State.PENDING
    occurred_at = connection.ops.adapt_datetimefield_value(to_naive(point.occurred_at))
    return [point.idempotency_key, *(getattr(point, name) for name in _FACTS), occurred_at, state.value, 0]

"""
PostgreSQL, by psycopg 3.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Double,
    FromClause,
    Insert,
    Integer,
    Text,
    Update,
    bindparam,
    cast,
    column,
    extract,
    func,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSON, insert

from ._bounded import BoundedConnection
from ._dialect import MAX_SILENCE, UNANSWERED, Dialect
from ._tables import POINTS
from .contract import State
from .rows import POINT

_LOCK: Final = 0x524D_4C55  # "RMLU"
# Points must be durable, and claims not fail for what others do, whatever the defaults of the database. Set only where
# they differ: behind a proxy the session may not be ours alone.
_SESSION: Final = """
    SELECT set_config('default_transaction_isolation', 'read committed', false)
        WHERE current_setting('default_transaction_isolation') <> 'read committed'
    UNION ALL
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


class PostgreSQL(Dialect):
    """
    Each call is one statement, and so one round trip.
    """

    driver = "postgresql+psycopg"
    isolation = "AUTOCOMMIT"
    options: ClassVar = {
        "connect_timeout": 2,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 1_000 * MAX_SILENCE,
        # Behind a proxy the next statement may run in another session, where what is prepared is another one.
        "prepare_threshold": None,
        "fallback_application_name": "remotion-licensing",
    }
    passing = frozenset({"40001", "40P01"})

    def __init__(self, *, clocked: bool) -> None:
        super().__init__(clocked=clocked)
        self._claim = self._claim_statement()

    def connect(self, driver: Any, options: Mapping[str, Any]) -> BoundedConnection:  # noqa: ARG002 - it is psycopg
        given = dict(options)
        if given["prepare_threshold"]:
            given["prepare_threshold"] = int(given["prepare_threshold"])  # a text, from the URL
        connection = BoundedConnection.connect(**given, autocommit=True)
        try:
            connection.execute(_SESSION)
        except BaseException:
            connection.close()
            raise
        return connection

    def code(self, error: BaseException) -> object:
        return getattr(error, "sqlstate", None)

    def check(self, connection: Connection) -> None:
        pass  # psycopg supports none that is too old

    @contextmanager
    def alone(self, connection: Connection) -> Generator[None]:
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        yield  # the lock goes with the transaction

    def claim(self, connection: Connection, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connection.execute(self._claim, values)]

    def _claim_statement(self) -> Update:
        size = bindparam("size", type_=Integer)
        due, far = (select(rows.limit(size).cte()) for rows in self._claimable(POINTS.c.due, POINTS.c.id))
        taken = union_all(due, far).limit(size).subquery("taken")
        row = (POINTS.c.id, POINTS.c.attempts, POINTS.c.unanswered_since, *(POINTS.c[name] for name in POINT))
        return (
            update(POINTS)
            .where(POINTS.c.id == taken.c.id)
            .values(
                due=self.now + bindparam("lease", type_=Double),
                token=bindparam("claim_token"),
                attempts=POINTS.c.attempts + 1,
                unanswered_since=UNANSWERED,
            )
            .returning(taken.c.due, *row)
        )

    def _server_clock(self) -> ColumnElement[Any]:
        # A query of its own, evaluated once: the function alone, which may change from row to row, uses no index.
        return select(cast(extract("epoch", func.clock_timestamp()), Double)).scalar_subquery()

    def _table(self, name: str, columns: Sequence[Column[Any]]) -> FromClause:
        rows = func.json_to_recordset(cast(bindparam(name, type_=Text), JSON))
        typed = (column(each.name, each.type) for each in columns)
        return rows.table_valued(*typed).render_derived("new", with_types=True)

    def _add(self, new: FromClause) -> Insert:
        added = [each.name for each in new.c]
        statement = insert(POINTS).from_select([*added, "due"], self._fresh(new))
        brought = statement.excluded
        return statement.on_conflict_do_update(
            index_elements=[POINTS.c.idempotency_key],
            set_={name: brought[name] for name in (*added, "due")},
            where=(POINTS.c.state == State.DEFERRED.value) & (brought.state == State.PENDING.value),
        )

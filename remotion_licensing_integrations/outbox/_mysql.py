"""
MySQL and MariaDB, by PyMySQL.
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
    String,
    bindparam,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql

from ..errors import OutboxError
from ._dialect import MAX_SILENCE, UNANSWERED, Dialect, Rows
from ._tables import DUE_INDEX, POINTS
from .contract import State
from .rows import POINT

_LOCK: Final = "remotion_usage_point"
_LOCK_WAIT: Final = 5  # seconds
_OLDEST: Final = {False: ("MySQL", (8, 0, 4)), True: ("MariaDB", (10, 6))}


class MySQL(Dialect):
    """
    Each call is a transaction.
    """

    driver = "mysql+pymysql"
    isolation = "READ COMMITTED"
    options: ClassVar = {
        "connect_timeout": 2,
        "read_timeout": MAX_SILENCE,
        "write_timeout": MAX_SILENCE,
        "init_command": f"SET SESSION innodb_lock_wait_timeout = {_LOCK_WAIT}, lock_wait_timeout = {_LOCK_WAIT}",
    }
    passing = frozenset({1205, 1213})  # lock wait timeout, deadlock

    def __init__(self, *, clocked: bool) -> None:
        super().__init__(clocked=clocked)
        row = (POINTS.c.due, POINTS.c.id, POINTS.c.attempts + 1, UNANSWERED, *(POINTS.c[name] for name in POINT))
        self._claim_due, self._claim_far = (self._by_index(rows) for rows in self._claimable(*row))
        self._take = (
            update(POINTS)
            .where(POINTS.c.id.in_(bindparam("rows", expanding=True)))
            # From left to right: what the first looks at, the others change.
            .ordered_values(
                (POINTS.c.unanswered_since, UNANSWERED),
                (POINTS.c.due, self.now + bindparam("lease", type_=Double)),
                (POINTS.c.token, bindparam("claim_token", type_=String)),
                (POINTS.c.attempts, POINTS.c.attempts + 1),
            )
        )

    def connect(self, driver: Any, options: Mapping[str, Any]) -> Any:
        return driver.connect(**options)

    def code(self, error: BaseException) -> object:
        return error.args[0] if error.args else None

    def check(self, connection: Connection) -> None:
        dialect: Any = connection.dialect
        name, oldest = _OLDEST[dialect.is_mariadb]
        if dialect.server_version_info < oldest:
            msg = f"outbox: this {name} is too old, {'.'.join(map(str, oldest))} or newer is needed"
            raise OutboxError(msg)

    @contextmanager
    def alone(self, connection: Connection) -> Generator[None]:
        if not connection.scalar(select(func.get_lock(_LOCK, _LOCK_WAIT))):
            msg = f"outbox: another process has been making the tables for more than {_LOCK_WAIT} s"
            raise OutboxError(msg)
        try:
            yield
            # Before the next one looks; the lock knows nothing of transactions.
            connection.exec_driver_sql("COMMIT")
        finally:
            connection.execute(select(func.release_lock(_LOCK)))

    def claim(self, connection: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        rows = [tuple(row) for row in connection.execute(self._claim_due, values)]
        if left := values["size"] - len(rows):
            rows += [tuple(row) for row in connection.execute(self._claim_far, {**values, "size": left})]
        if rows:
            connection.execute(self._take, {**values, "rows": [row[1] for row in rows]})
        return rows

    def _by_index(self, rows: Rows) -> Rows:
        # Without the index all that could be claimed is locked, and sorted then.
        return rows.with_hint(POINTS, f"FORCE INDEX ({DUE_INDEX})", "mysql").limit(bindparam("size", type_=Integer))

    def _server_clock(self) -> ColumnElement[Any]:
        microseconds = func.timestampdiff(
            literal_column("MICROSECOND"), "1970-01-01", func.utc_timestamp(literal_column("6"))
        )
        return microseconds / literal_column("1e6", Double)

    def _table(self, name: str, columns: Sequence[Column[Any]]) -> FromClause:
        types = ", ".join(f"{each.name} {each.type.compile(mysql.dialect())} PATH '$.{each.name}'" for each in columns)
        rows = text(f"SELECT * FROM JSON_TABLE(:{name}, '$[*]' COLUMNS ({types})) AS rows_of_json")
        return rows.columns(*columns).subquery("new")

    def _add(self, new: FromClause) -> Insert:
        # A table within, whose columns have names of their own.
        fresh = self._fresh(new).subquery("fresh")
        statement = mysql.insert(POINTS).from_select(list(fresh.c.keys()), select(fresh))
        gives_way = (POINTS.c.state == State.DEFERRED.value) & (fresh.c.state == State.PENDING.value)
        # From left to right: the state, which decides, is the last to change.
        names = sorted(fresh.c.keys(), key="state".__eq__)
        return statement.on_duplicate_key_update(
            [(name, func.if_(gives_way, fresh.c[name], POINTS.c[name])) for name in names]
        )

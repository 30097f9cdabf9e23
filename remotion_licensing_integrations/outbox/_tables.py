"""
The tables of an outbox in a database server, and how they come to be.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    func,
    inspect,
    literal_column,
    select,
)

from ..errors import OutboxError
from ..points import MAX_HOST_LENGTH, MAX_KEY_LENGTH
from .contract import MAX_ERROR_LENGTH

_metadata: Final = MetaData()
# In MySQL: `a` and `A` are two keys, and the default engine and character set need not be these.
_MYSQL: Final[dict[str, Any]] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}

# `due` is when a pending point is delivered next; for the others, when they came into their state.
POINTS: Final = Table(
    "remotion_usage_point",
    _metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("idempotency_key", String(MAX_KEY_LENGTH), nullable=False, unique=True),
    Column("event", String(40), nullable=False),
    Column("host", String(MAX_HOST_LENGTH)),
    Column("succeeded", Boolean),
    Column("is_still", Boolean, nullable=False),
    Column("is_production", Boolean, nullable=False),
    Column("occurred_at", Double, nullable=False),
    Column("state", String(12), nullable=False),
    Column("due", Double, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("token", String(32)),
    Column("unanswered_since", Double),
    Column("last_error", String(MAX_ERROR_LENGTH)),
    Column("billable", Boolean),
    Column("classification", String(MAX_ERROR_LENGTH)),
    **_MYSQL,
)

_VERSION: Final = 1

# Each row is written three times in its life: there is room beside it, and what is written over is soon cleared away.
# And how many points are pending must be known, lest a claim sorts them all.
_STORAGE: Final = "fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"
# A literal, so that the partial index serves prepared statements, too.
PENDING: Final = POINTS.c.state == literal_column("'pending'")

# The order of claims.
DUE_INDEX: Final = "remotion_usage_point_due"
Index(DUE_INDEX, POINTS.c.due, POINTS.c.id, postgresql_where=PENDING).ddl_if(dialect="postgresql")
Index(DUE_INDEX, POINTS.c.state, POINTS.c.due, POINTS.c.id).ddl_if(dialect="mysql")

_SCHEMA: Final = Table("remotion_usage_schema", _metadata, Column("version", Integer, nullable=False), **_MYSQL)


def exist(connection: Connection) -> bool:
    """
    Return whether the tables are there, of whatever version.
    """
    return inspect(connection).has_table(POINTS.name)


def migrate(connection: Connection, alone: Callable[[Connection], AbstractContextManager[None]]) -> None:
    """
    Make the tables, or bring them up to date.

    Args:
        connection: In a transaction.
        alone: Keeps other processes that migrate waiting while its context lasts.

    Raises:
        OutboxError: The tables are of a version to come.
    """
    if _is_current(connection):
        return
    with alone(connection):
        if not _is_current(connection):
            _create(connection)


def _is_current(connection: Connection) -> bool:
    found = inspect(connection).has_table(_SCHEMA.name)
    version = connection.scalar(select(func.max(_SCHEMA.c.version))) if found else None
    if version is not None and version > _VERSION:
        msg = f"outbox: the tables have schema {version}, which is newer than this package knows; upgrade the package"
        raise OutboxError(msg)
    return version == _VERSION


def _create(connection: Connection) -> None:
    # What is there already is left: MySQL has no transaction to undo half of it.
    _metadata.create_all(connection)
    for index in POINTS.indexes:
        index.create(connection, checkfirst=True)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"ALTER TABLE {POINTS.name} SET ({_STORAGE})")
    connection.execute(_SCHEMA.insert().values(version=_VERSION))

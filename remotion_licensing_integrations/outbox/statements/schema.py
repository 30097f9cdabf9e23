"""
The tables of a store in a file or a database server; a Django project has migrations instead.

Fault: while a new version is deployed, processes of the old one go on with the same tables. So a migration only adds:

* new tables, indexes, and columns that are nullable or have a default; nothing is renamed, dropped, narrowed or made
  unique, and no statement of an older version gets another meaning. A process that has opened the store before goes on;
  one that starts afterwards is refused and spills its points, into a file to which the same applies.
* one change for each statement, and none depends on the rows: MySQL has no transaction to undo half of a migration, so
  the next process runs all its statements again, and takes what is there already for done.
* A migration that was released never changes; the next one is appended.

tests/outbox/test_upgrades.py runs old and new processes side by side, kills a migration half-way, and holds the form of
each statement; tests/outbox/test_stored_schemas.py opens stores that older versions have written.
"""

from __future__ import annotations

from typing import Final

from ...points import MAX_FINGERPRINT_LENGTH, MAX_HOST_LENGTH, MAX_KEY_LENGTH, MAX_LABEL_LENGTH
from ..connection import Database
from ..totals import MAX_KEPT_CLASSIFICATION
from ..values import MAX_ERROR_LENGTH

# `due` is when a pending point is delivered next; for the others, when they came into their state. `key_fingerprint`
# tells licence keys apart, empty for any key; no key is ever stored.
_POINTS: Final = f"""
    CREATE TABLE IF NOT EXISTS remotion_usage_point (
        id {{id}},
        idempotency_key VARCHAR({MAX_KEY_LENGTH}) NOT NULL UNIQUE,
        event VARCHAR(40) NOT NULL,
        host VARCHAR({MAX_HOST_LENGTH}),
        succeeded BOOLEAN,
        is_still BOOLEAN NOT NULL,
        is_production BOOLEAN NOT NULL,
        occurred_at DOUBLE PRECISION NOT NULL,
        state VARCHAR(12) NOT NULL,
        due DOUBLE PRECISION NOT NULL,
        attempts INTEGER NOT NULL,
        token VARCHAR(32),
        unanswered_since DOUBLE PRECISION,
        last_error VARCHAR({MAX_ERROR_LENGTH}),
        billable BOOLEAN,
        classification VARCHAR({MAX_ERROR_LENGTH}),
        label VARCHAR({MAX_LABEL_LENGTH}),
        key_fingerprint VARCHAR({MAX_FINGERPRINT_LENGTH}) NOT NULL DEFAULT ''{{index}}
    ) {{options}}
"""
# How many points of a day were registered, once the points themselves are pruned. A day is the number of days since
# 1970 in UTC: `day` is when the points occurred, `registered_day` when the licensing API has counted them.
_TOTALS: Final = f"""
    CREATE TABLE IF NOT EXISTS remotion_daily_total (
        day INTEGER NOT NULL,
        registered_day INTEGER NOT NULL,
        event VARCHAR(40) NOT NULL,
        host VARCHAR({MAX_HOST_LENGTH}) NOT NULL,
        label VARCHAR({MAX_LABEL_LENGTH}) NOT NULL,
        key_fingerprint VARCHAR({MAX_FINGERPRINT_LENGTH}) NOT NULL,
        classification VARCHAR({MAX_KEPT_CLASSIFICATION}) NOT NULL,
        number BIGINT NOT NULL,
        PRIMARY KEY (day, registered_day, event, host, label, key_fingerprint, classification)
    ) {{options}}
"""
_PAUSES: Final = f"""
    CREATE TABLE IF NOT EXISTS remotion_pause (
        deliverer VARCHAR({MAX_ERROR_LENGTH}) NOT NULL PRIMARY KEY,
        reason VARCHAR({MAX_ERROR_LENGTH}) NOT NULL,
        since DOUBLE PRECISION NOT NULL,
        until DOUBLE PRECISION NOT NULL
    ) {{options}}
"""

# The number of each migration that the tables have seen; a file has its `user_version`. Some servers take no table
# without a primary key (tests/outbox/test_server_tables.py::test_server_that_wants_primary_keys).
_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS remotion_usage_schema (version INTEGER NOT NULL PRIMARY KEY) {options}"

_COMMON: Final = (_POINTS, _TOTALS, _PAUSES)

# In MySQL, too, `a` and `A` must be two keys, and the default engine and character set may be others.
_MYSQL: Final = "ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
# In PostgreSQL each row is written three times in its life: pages keep room for that, and dead rows are removed early.
# The planner must know how many points are pending: otherwise a claim sorts them all.
_POSTGRESQL: Final = """
    ALTER TABLE remotion_usage_point
    SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)
"""


def _migration(identity: str, *others: str, index: str = "", options: str = "") -> tuple[str, ...]:
    tables = (table.format(id=identity, index=index, options=options) for table in _COMMON)
    return (*tables, *others)


_PENDING: Final = "remotion_usage_point_due ON remotion_usage_point (key_fingerprint, due, id) WHERE state = 'pending'"

#: The migrations of each database. The index `…_due` serves the order of claims, for each licence key: a claim must not
#: read through the points for other keys. `…_state` serves pruning; in a file it also covers the counts.
MIGRATIONS: Final[dict[Database, tuple[tuple[str, ...], ...]]] = {
    "sqlite": (
        _migration(
            "INTEGER PRIMARY KEY",
            f"CREATE INDEX {_PENDING}",
            "CREATE INDEX remotion_usage_point_state ON remotion_usage_point (state, due, id, occurred_at, token)",
        ),
    ),
    "postgresql": (
        _migration(
            "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
            f"CREATE INDEX IF NOT EXISTS {_PENDING}",
            _POSTGRESQL,
            _SCHEMA.format(options=""),
        ),
    ),
    "mysql": (
        _migration(
            "BIGINT AUTO_INCREMENT PRIMARY KEY",
            _SCHEMA.format(options=_MYSQL),
            index=",\n        INDEX remotion_usage_point_due (state, key_fingerprint, due, id)"
            ",\n        INDEX remotion_usage_point_state (state, due, id)",
            options=_MYSQL,
        ),
    ),
}

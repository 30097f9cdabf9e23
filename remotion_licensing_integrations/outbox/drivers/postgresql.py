"""
PostgreSQL by psycopg 3.
"""

from __future__ import annotations

import select
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final, TypeVar

import psycopg
from psycopg import capabilities
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.waiting import Ready, Wait

from ...errors import OutboxError
from ..connection import Database, Session
from .base import MAX_MIGRATION, MAX_SILENCE, Driver, refused_url, split_url

_T = TypeVar("_T")

_LOCK: Final = 0x524D_4C55  # "RMLU"
_LOCK_WAIT: Final = 5  # seconds
_CANCELLING: Final = 1.0  # seconds
_ENCODING: Final = "UTF8"  # PostgreSQL's name for it
_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 2,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 1_000 * MAX_SILENCE,
    # Behind a proxy the next statement may run in another session, which has other prepared statements.
    "prepare_threshold": None,
    "fallback_application_name": "remotion-licensing",
    # Not what the environment has for other programs: by SQL_ASCII each text would be read as bytes, and be no point
    # (tests/outbox/test_server.py::test_encoding_of_the_environment).
    "client_encoding": _ENCODING,
}
# Points must be durable, and other transactions must not make a claim fail, so the database's defaults do not apply.
# Set only where they differ: behind a proxy we may share the session.
_SESSION: Final = """
    SELECT set_config('default_transaction_isolation', 'read committed', false)
        WHERE current_setting('default_transaction_isolation') <> 'read committed'
    UNION ALL
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


class PsycopgDriver(Driver):
    """
    The database of *url*, whose query has options of libpq and `prepare_threshold`.
    """

    database: ClassVar[Database] = "postgresql"
    error: type[Exception] = psycopg.Error
    passing: ClassVar[frozenset[object]] = frozenset({"40001", "40P01"})  # serialization failure, deadlock
    # From the table: `to_regclass` remembers until the transaction ends that a table was missing.
    has_table: ClassVar[str] = (
        "SELECT COUNT(*) FROM pg_class WHERE relname = %(name)s::text AND pg_table_is_visible(oid)"
    )

    def __init__(self, url: str) -> None:
        parts = split_url(url)
        query = [option for option in parts.query.split("&") if not option.startswith("prepare_threshold=")]
        own = dict(option.split("=", 1) for option in parts.query.split("&") if option not in query)
        try:
            options = {name: int(value) for name, value in own.items()}
            server = conninfo_to_dict(f"postgresql://{parts.netloc}{parts.path}?{'&'.join(query)}")
        except (ValueError, psycopg.Error) as error:
            raise refused_url(url, str(error).strip()) from None
        if not str(server.get("port", "0")).replace(",", "").isdigit():
            raise refused_url(url, "the port is not a number")
        self._options: dict[str, Any] = {**_OPTIONS, **server, **options}
        self.secrets: list[str | None] = [str(server[name]) for name in ("password", "sslpassword") if name in server]

    def connect(self) -> BoundedConnection:
        connection = BoundedConnection.connect(**self._options, autocommit=True)
        try:
            connection.execute(_SESSION)
        except BaseException:
            connection.close()
            raise
        return connection

    def code(self, error: Exception) -> object:
        return getattr(error, "sqlstate", None)

    def is_lost(self, connection: BoundedConnection) -> bool:
        return connection.closed

    def check(self, connection: BoundedConnection) -> None:
        # psycopg supports no server that is too old. A label or an answer of the API that the database cannot hold
        # would keep all points of its batch from being stored, again and again
        # (tests/outbox/test_server.py::test_database_that_cannot_hold_every_text).
        encoding = connection.info.parameter_status("server_encoding") or _ENCODING
        if encoding != _ENCODING:
            msg = f"outbox: the database has the encoding {encoding}, and {_ENCODING} is needed"
            raise OutboxError(msg)

    @contextmanager
    def alone(self, connection: BoundedConnection, session: Session) -> Generator[None]:
        session.change("BEGIN", {})
        # Whoever waits for a table's lock makes all that come later wait, too.
        session.change(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}s'", {})
        session.rows(f"SELECT pg_advisory_xact_lock({_LOCK})", {})
        # A long migration that is cancelled is undone, and would be cancelled again at each try
        # (tests/outbox/test_upgrades.py::test_long_migration).
        connection.is_migrating = True
        yield  # after an error the connection is closed, and the transaction and its lock are gone
        session.change("COMMIT", {})
        connection.is_migrating = False


class BoundedConnection(psycopg.Connection[Any]):
    """
    Ends with an error when the server has not answered a statement within `max_silence` seconds.

    Attributes:
        is_migrating: Whether it changes tables, which takes its time.

    Neither the server's own timeouts nor those of TCP help against a server that is frozen: its kernel goes on
    (tests/outbox/test_server_faults.py::test_frozen_server).
    """

    is_migrating = False

    @property
    def max_silence(self) -> int:
        """
        Seconds.
        """
        return MAX_MIGRATION if self.is_migrating else MAX_SILENCE

    def wait(self, gen: PQGen[_T], *_: object, **__: object) -> _T:
        """
        Run the steps of *gen*, which wait for the server in between.
        """
        try:
            return _run(gen, self.pgconn.socket, self.max_silence)
        except TimeoutError:
            self._give_up()
            msg = f"no answer for {self.max_silence} s"
            raise psycopg.OperationalError(msg) from None

    def _give_up(self) -> None:
        # A statement that waits for a lock would keep its session busy. Before libpq 17, cancelling may never end.
        if capabilities.has_cancel_safe():  # pragma: no branch - depends on libpq, 17 or older
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCELLING)
        self.close()


def _run(steps: PQGen[_T], socket: int, max_silence: float) -> _T:
    give_up = time.monotonic() + max_silence
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(_wait(socket, wanted, give_up - time.monotonic()))
    except StopIteration as end:
        result: _T = end.value
        return result


def _wait(socket: int, wanted: Wait, seconds: float) -> Ready:
    # `select` takes only low descriptors, but on Windows, where there is no `poll`, any.
    look = _poll if hasattr(select, "poll") else _select
    ready = look(socket, wanted, max(0.0, seconds))
    if not ready:
        raise TimeoutError
    return Ready(ready)


def _poll(socket: int, wanted: Wait, seconds: float) -> int:
    poll = select.poll()
    poll.register(socket, (wanted & Wait.R and select.POLLIN) | (wanted & Wait.W and select.POLLOUT))
    ready = 0
    for _, event in poll.poll(1_000 * seconds):
        # A broken connection is ready for both; the next step raises its error.
        ready |= (event != select.POLLOUT and Ready.R) | (event != select.POLLIN and Ready.W)
    return ready


def _select(socket: int, wanted: Wait, seconds: float) -> int:
    reads, writes = [socket] if wanted & Wait.R else [], [socket] if wanted & Wait.W else []
    readable, writable, _ = select.select(reads, writes, [], seconds)
    return (Ready.R if readable else 0) | (Ready.W if writable else 0)

"""
MySQL and MariaDB by PyMySQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, unquote

import pymysql  # type: ignore[import-untyped] # PyMySQL has no types

from ...errors import OutboxError
from ..connection import Database, Session
from .base import MAX_SILENCE, Driver, refused_url, split_url

_LOCK: Final = "remotion_usage_point"
_LOCK_WAIT: Final = 5  # seconds
# Django refuses older ones itself, from 5.2 on, so that no system check has to name them.
_OLDEST: Final = {False: ("MySQL", (8, 0, 11)), True: ("MariaDB", (10, 5))}
# Other transactions must not make a claim fail, so the server's default level does not apply.
_SESSION: Final = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 2,
    "read_timeout": MAX_SILENCE,
    "write_timeout": MAX_SILENCE,
    "charset": "utf8mb4",
    "init_command": f"SET SESSION innodb_lock_wait_timeout = {_LOCK_WAIT}, lock_wait_timeout = {_LOCK_WAIT}",
}


def _to_bool(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


#: The options that the query of a URL may have, and how each is read.
_READ: Final[dict[str, Callable[[str], Any]]] = {
    **dict.fromkeys(["connect_timeout", "read_timeout", "write_timeout", "max_allowed_packet"], int),
    **dict.fromkeys(["local_infile", "ssl_disabled", "ssl_verify_cert", "ssl_verify_identity"], _to_bool),
    **dict.fromkeys(["unix_socket", "bind_address", "charset", "collation", "init_command", "sql_mode"], str),
    **dict.fromkeys(["password", "passwd", "read_default_file", "read_default_group", "program_name"], str),
    **dict.fromkeys(["ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password"], str),
}


class PyMySQLDriver(Driver):
    """
    The database of *url*, whose query has options of PyMySQL.
    """

    database: ClassVar[Database] = "mysql"
    error: type[Exception] = pymysql.Error
    passing: ClassVar[frozenset[object]] = frozenset({1205, 1213})  # lock wait timeout, deadlock
    done: ClassVar[frozenset[object]] = frozenset({1060, 1061})  # duplicate column name, duplicate name of an index
    has_table: ClassVar[str] = """
        SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %(name)s
    """

    def __init__(self, url: str) -> None:
        parts = split_url(url)
        server = {
            "host": parts.hostname,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "database": unquote(parts.path.removeprefix("/")),
        }
        self._options: dict[str, Any] = {**_OPTIONS, **{name: value for name, value in server.items() if value}}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := query.keys() - _READ.keys():
            raise refused_url(url, f"PyMySQL has no option {min(unknown)!r}")
        try:
            self._options |= {name: _READ[name](value) for name, value in query.items()}
            self._options |= {} if parts.port is None else {"port": parts.port}
        except (KeyError, ValueError) as error:
            raise refused_url(url, f"an option cannot be read: {error}") from None
        self.secrets: list[str | None] = [
            self._options.get(name) for name in ("password", "passwd", "ssl_key_password")
        ]

    def connect(self) -> Any:
        connection = pymysql.connect(**self._options, autocommit=True)
        try:
            connection.cursor().execute(_SESSION)
        except BaseException:
            connection.close()
            raise
        return connection

    def code(self, error: Exception) -> object:
        return error.args[0] if error.args else None

    def is_lost(self, connection: Any) -> bool:
        return not connection.open

    def check(self, connection: Any) -> None:
        info = connection.get_server_info()
        # MariaDB tells old clients that it is MySQL 5.5.5.
        version = tuple(int(part) for part in re.findall(r"\d+", info.removeprefix("5.5.5-"))[:3])
        name, oldest = _OLDEST["MariaDB" in info]
        if version < oldest:
            msg = f"outbox: this {name} is too old, {'.'.join(map(str, oldest))} or newer is needed"
            raise OutboxError(msg)

    @contextmanager
    def alone(self, connection: Any, session: Session) -> Generator[None]:  # noqa: ARG002 - for other drivers
        [(locked,)] = session.rows(f"SELECT GET_LOCK('{_LOCK}', {_LOCK_WAIT})", {})
        if not locked:
            msg = f"outbox: another process has been creating the tables for more than {_LOCK_WAIT} s"
            raise OutboxError(msg)
        try:
            yield
        finally:
            session.rows(f"SELECT RELEASE_LOCK('{_LOCK}')", {})

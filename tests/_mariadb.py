"""
A MariaDB server of the test run's own, in a temporary directory, gone when the run ends.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PATIENCE = 30  # seconds until the server answers


@pytest.fixture(scope="session")
def mariadb() -> Iterator[dict[str, Any]]:
    """
    A running server, as an entry for Django's `DATABASES`.
    """
    pytest.importorskip("MySQLdb", reason="no driver for MariaDB here: `pip install mysqlclient`")
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        pytest.skip("no MariaDB server here: `apt-get install mariadb-server`")
    with serve() as database:
        yield database


@contextmanager
def serve() -> Iterator[dict[str, Any]]:
    """
    Run a new server while the context lasts.
    """
    place = Path(tempfile.mkdtemp(prefix="remotion-mariadb-"))
    data, server_socket = place / "data", place / "socket"
    # The kernel bounds asynchronous input and output for all servers of a machine together.
    common = ["--no-defaults", f"--datadir={data}", "--user=root", "--innodb-use-native-aio=0"]
    try:
        install = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        options = [f"--socket={server_socket}", "--skip-networking", "--innodb-flush-log-at-trx-commit=0"]
        server = subprocess.Popen(["mariadbd", *common, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _create(str(server_socket))
            yield {
                "ENGINE": "django.db.backends.mysql",
                "NAME": "remotion",
                "USER": "root",
                "OPTIONS": {"unix_socket": str(server_socket), "charset": "utf8mb4"},
            }
        finally:
            server.kill()
            server.wait()
    finally:
        shutil.rmtree(place)


def _create(server_socket: str) -> None:
    import MySQLdb  # noqa: PLC0415 - a driver that few installations have

    until = time.monotonic() + _PATIENCE
    while True:
        try:
            connection = MySQLdb.connect(unix_socket=server_socket, user="root")
            break
        except MySQLdb.OperationalError:
            assert time.monotonic() < until, "MariaDB does not answer"
            time.sleep(0.05)
    connection.cursor().execute("CREATE DATABASE remotion CHARACTER SET utf8mb4")
    connection.close()

"""
A MariaDB server of the test run's own, in a temporary directory, gone when the run ends.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests._environment import skip_missing

_PATIENCE = 30  # seconds until the server answers


@pytest.fixture(scope="session")
def mariadb() -> Iterator[dict[str, Any]]:
    """
    A running server, as an entry for Django's `DATABASES`.
    """
    # In the place of mysqlclient, Django's own driver, which needs a compiler.
    pytest.importorskip("pymysql").install_as_MySQLdb()
    programs = find_programs()
    if programs is None:
        skip_missing("no MariaDB server here: `apt-get install mariadb-server`, or put mariadbd on the PATH")
    with serve(*programs) as database:
        yield database


def find_programs() -> tuple[str, str] | None:
    """
    Return the programs that install and run a server.
    """
    # Where Debian and Ubuntu put the second, only root looks.
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    install, run = (shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd"))
    return (install, run) if install and run else None


@contextmanager
def serve(install: str, run: str) -> Iterator[dict[str, Any]]:
    """
    Run a new server while the context lasts.
    """
    place = Path(tempfile.mkdtemp(prefix="remotion-mariadb-"))
    data, server_socket = place / "data", place / "socket"
    # Else another MariaDB's files would be found where the distribution has its own.
    base = Path(install).resolve().parent.parent
    # A server that starts deletes what others have left in the place of temporary tables, or still have there. And the
    # kernel bounds asynchronous input and output for all servers of a machine together.
    common = [f"--basedir={base}", f"--datadir={data}", f"--tmpdir={place}", "--user=root", "--innodb-use-native-aio=0"]
    try:
        command = [install, "--no-defaults", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        # Nothing here outlives the run, so nothing is forced to the disk.
        options = [f"--socket={server_socket}", "--skip-networking", "--innodb-flush-log-at-trx-commit=0"]
        server = subprocess.Popen(
            [run, "--no-defaults", *common, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
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
    import pymysql  # noqa: PLC0415 - a driver that few installations have

    until = time.monotonic() + _PATIENCE
    while not _listens(server_socket):
        assert time.monotonic() < until, "MariaDB does not answer"
        time.sleep(0.05)
    with pymysql.connect(unix_socket=server_socket, user="root") as connection:
        connection.cursor().execute("CREATE DATABASE remotion CHARACTER SET utf8mb4")


def _listens(server_socket: str) -> bool:
    # Asked without the driver, which leaves a socket open when it cannot connect.
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(server_socket)
        return True
    return False

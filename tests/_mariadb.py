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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests._environment import skip_missing
from tests._systems import skip_without_posix

#: An option: a commit is in the hands of the system when it returns, and survives the death of the server.
DURABLE = "--innodb-flush-log-at-trx-commit=2"
_PATIENCE = 30  # seconds until the server answers
# By default nothing is forced to the disk, or even to the system: nothing outlives the run.
_OPTIONS = ("--innodb-flush-log-at-trx-commit=0",)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[dict[str, Any]]:
    """
    A running server, as an entry for Django's `DATABASES`.
    """
    with run_server(*_needed_programs()) as server:
        yield server.entry


@pytest.fixture(scope="module")
def durable_mariadb() -> Iterator[Server]:
    """
    A server of a module's own that keeps what it has committed when it is killed.
    """
    with run_server(*_needed_programs(), DURABLE) as server:
        yield server


def _needed_programs() -> tuple[str, str]:
    # In the place of mysqlclient, Django's own driver, which needs a compiler.
    pytest.importorskip("pymysql").install_as_MySQLdb()
    skip_without_posix("MariaDB")
    programs = find_programs()
    if programs is None:
        skip_missing("no MariaDB server here: `apt-get install mariadb-server`, or put mariadbd on the PATH")
    return programs


def find_programs() -> tuple[str, str] | None:
    """
    Return the programs that install and run a server.
    """
    # Where Debian and Ubuntu put the second, only root looks.
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    install, run = (shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd"))
    return (install, run) if install and run else None


@contextmanager
def run_server(install: str, run: str, *options: str) -> Iterator[Server]:
    """
    Have a new server while the context lasts, running at first.
    """
    place = Path(tempfile.mkdtemp(prefix="remotion-mariadb-"))
    try:
        server = Server(place, install, run, options)
        server.start()
        server.create_database()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(place)


class Server:
    """
    A server in the directory *place*, that can be stopped and started again.

    Attributes:
        entry: Its database, for Django's `DATABASES`.
    """

    def __init__(self, place: Path, install: str, run: str, options: Sequence[str]) -> None:
        self._socket = str(place / "socket")
        # Else another MariaDB's files would be found where the distribution has its own.
        base = Path(install).resolve().parent.parent
        # A server that starts deletes what others have left in the place of temporary tables, or still have there. And
        # the kernel bounds asynchronous input and output for all servers of a machine together.
        common = [
            "--no-defaults",
            f"--basedir={base}",
            f"--datadir={place / 'data'}",
            f"--tmpdir={place}",
            "--user=root",
            "--innodb-use-native-aio=0",
        ]
        self._command = [run, *common, f"--socket={self._socket}", "--skip-networking", *(_OPTIONS + tuple(options))]
        self._process: subprocess.Popen[bytes] | None = None
        self.entry: dict[str, Any] = {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "remotion",
            "USER": "root",
            "OPTIONS": {"unix_socket": self._socket, "charset": "utf8mb4"},
        }
        command = [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """
        Start it, and wait until it answers.
        """
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + _PATIENCE
        while not _listens(self._socket):
            assert time.monotonic() < until, "MariaDB does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        """
        Kill it; nothing happens when it does not run.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def create_database(self) -> None:
        """
        Create the database of `entry`.
        """
        import pymysql  # noqa: PLC0415 - a driver that few installations have

        with pymysql.connect(unix_socket=self._socket, user="root") as connection:
            connection.cursor().execute("CREATE DATABASE remotion CHARACTER SET utf8mb4")


def _listens(server_socket: str) -> bool:
    # Asked without the driver, which leaves a socket open when it cannot connect.
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(server_socket)
        return True
    return False

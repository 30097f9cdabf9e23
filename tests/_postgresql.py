"""
A PostgreSQL server of the test run's own, in a temporary directory, gone when the run ends.
"""

from __future__ import annotations

import os
import shutil
import signal
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

USER = "remotion"
PATIENCE = 10  # seconds
_BINARIES = Path("/usr/lib/postgresql")  # where Debian and Ubuntu put them
#: An option: a commit is in the hands of the system when it returns, and survives the death of the server.
DURABLE = "synchronous_commit=on"
# Nothing here outlives the run, so nothing is forced to the disk.
_OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[dict[str, Any]]:
    """
    A running server, as an entry for Django's `DATABASES`.
    """
    with run_server(_needed_binaries()) as server:
        yield server.entry


@pytest.fixture(scope="module")
def postgresql_server() -> Iterator[Server]:
    """
    A server of a module's own, which its tests may stop and freeze.
    """
    with run_server(_needed_binaries(), "deadlock_timeout=100ms") as server:
        yield server


@pytest.fixture(scope="module")
def durable_postgresql() -> Iterator[Server]:
    """
    A server of a module's own that keeps what it has committed when it is stopped as by a crash.
    """
    with run_server(_needed_binaries(), DURABLE) as server:
        yield server


def _needed_binaries() -> Path:
    pytest.importorskip("psycopg")
    skip_without_posix("PostgreSQL")
    binaries = find_binaries()
    if binaries is None:
        skip_missing("no PostgreSQL server here: `apt-get install postgresql`, or put initdb and pg_ctl on the PATH")
    return binaries


def find_binaries() -> Path | None:
    """
    Return the directory of the newest server's programs.
    """
    installed = sorted(_BINARIES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb")
    return installed[-1].parent if installed else Path(found).parent if found else None


@contextmanager
def run_server(binaries: Path, *options: str) -> Iterator[Server]:
    """
    Have a new server while the context lasts, running at first.
    """
    place = Path(tempfile.mkdtemp(prefix="remotion-postgresql-"))
    try:
        server = Server(place, binaries, (*_OPTIONS, *options))
        server.start()
        try:
            yield server
        finally:
            server.thaw()
            server.stop()
    finally:
        shutil.rmtree(place)


class Server:
    """
    A server in the directory *place*, that can be stopped, frozen and started again.

    Attributes:
        entry: Its database, for Django's `DATABASES`.
    """

    def __init__(self, place: Path, binaries: Path, options: Sequence[str]) -> None:
        self._account = _account()
        if self._account is not None:
            shutil.chown(place, self._account)
        self._data, self._log, self._control = place / "data", place / "log", binaries / "pg_ctl"
        port = _free_port()
        self._command = f"-p {port} -k {place} -h '' {' '.join(f'-c {option}' for option in options)}"
        self.entry: dict[str, Any] = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": USER,
            "HOST": str(place),
            "PORT": str(port),
        }
        initdb = (binaries / "initdb", "-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8", "-N", "--locale=C")
        _run(self._account, *initdb)

    @property
    def log(self) -> str:
        """
        Everything it has logged so far.
        """
        return self._log.read_text()

    def start(self) -> None:
        """
        Start it, and wait until it answers.
        """
        _run(self._account, self._control, "-D", self._data, "-o", self._command, "-l", self._log, "-w", "start")

    def stop(self) -> None:
        """
        Stop it as a crash would; nothing happens when it does not run.
        """
        if self.processes():
            _run(self._account, self._control, "-D", self._data, "-m", "immediate", "-w", "stop")

    def freeze(self) -> None:
        """
        Stop all its processes from running, as when a virtual machine is frozen: the kernel still takes connections.
        """
        self._send(signal.SIGSTOP)
        for process in self.processes():
            wait_stopped(process)

    def thaw(self) -> None:
        """
        Let them run again.
        """
        self._send(signal.SIGCONT)

    def _send(self, what: signal.Signals) -> None:
        for process in self.processes():
            with suppress(ProcessLookupError):  # a session that has just ended
                os.kill(process, what)

    def processes(self) -> list[int]:
        """
        Return the ids of its processes, none when it is stopped.
        """
        try:
            first = (self._data / "postmaster.pid").read_text().split()[0]
        except FileNotFoundError:
            return []
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [int(process) for process in (first, *children)]


def wait_stopped(process: int) -> None:
    """
    Wait until all threads of a process that was sent SIGSTOP have stopped; one that has not yet may still answer.
    """
    give_up = time.monotonic() + PATIENCE
    while not all(_is_stopped(status) for status in Path(f"/proc/{process}/task").glob("*/stat")):
        assert time.monotonic() < give_up
        time.sleep(0.001)


def _is_stopped(status: Path) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return status.read_text().rpartition(")")[2].split()[0] in {"T", "Z", "X"}
    return True  # it has ended


def _account() -> str | None:
    # The server refuses to run as root; its package comes with an account.
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415 - not part of Python on Windows, where this module is loaded, too

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _run(account: str | None, *command: object) -> None:
    arguments: Sequence[str] = [str(part) for part in command]
    result = (
        subprocess.run(
            arguments,
            user=account,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        )
        if "pg_ctl" not in arguments[0]
        else _run_daemon(account, arguments)
    )
    assert result.returncode == 0, f"{' '.join(arguments)}: {result.stdout}"


def _run_daemon(account: str | None, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # What the server inherits stays open as long as it runs, so no pipe is handed to it.
    return subprocess.run(
        arguments,
        user=account,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )


def _free_port() -> int:
    # Names the socket's file only: the server listens on no address.
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])

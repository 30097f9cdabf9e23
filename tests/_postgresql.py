"""
A PostgreSQL server of the test run's own, in a temporary directory, gone when the run ends.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

USER = "remotion"
_BINARIES = Path("/usr/lib/postgresql")  # where Debian and Ubuntu put them
# Nothing here outlives the run, so nothing is forced to the disk.
_OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[dict[str, Any]]:
    """
    A running server, as an entry for Django's `DATABASES`.
    """
    pytest.importorskip("psycopg")
    binaries = find_binaries()
    if binaries is None:
        reason = "no PostgreSQL server here: `apt-get install postgresql`, or put initdb and pg_ctl on the PATH"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with serve(binaries) as database:
        yield database


def find_binaries() -> Path | None:
    """
    Return the directory of the newest server's programs.
    """
    installed = sorted(_BINARIES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb")
    return installed[-1].parent if installed else Path(found).parent if found else None


@contextmanager
def serve(binaries: Path) -> Iterator[dict[str, Any]]:
    """
    Run a new server while the context lasts.
    """
    place = Path(tempfile.mkdtemp(prefix="remotion-postgresql-"))
    account = _account()
    if account is not None:
        shutil.chown(place, account)
    port = _free_port()
    data = place / "data"
    options = " ".join(f"-c {option}" for option in _OPTIONS)
    try:
        _run(account, binaries / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "-N", "--locale=C")
        command = f"-p {port} -k {place} -h '' {options}"
        _run(account, binaries / "pg_ctl", "-D", data, "-o", command, "-l", place / "log", "-w", "start")
        try:
            yield {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "postgres",
                "USER": USER,
                "HOST": str(place),
                "PORT": str(port),
            }
        finally:
            _run(account, binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(place)


def _account() -> str | None:
    # The server refuses to run as root; its package comes with an account.
    if os.geteuid() != 0:
        return None
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

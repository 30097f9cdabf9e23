"""
A Redis server of the test run's own, in a temporary directory, gone when the run ends.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests._environment import skip_missing
from tests._systems import skip_without_posix
from tests.processes.servers import eventually


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """
    The socket of a running server.
    """
    skip_without_posix("Redis")
    program = shutil.which("redis-server")
    if program is None:
        skip_missing("no Redis server here: `apt-get install redis-server`")
    place = Path(tempfile.mkdtemp(prefix="remotion-redis-"))
    path = place / "socket"
    command = [
        program,
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--dir",
        str(place),
        "--save",
        "",
        "--daemonize",
        "no",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: _answers(path))
            yield path
        finally:
            server.kill()
            shutil.rmtree(place)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return path.exists() and probe.connect_ex(str(path)) == 0

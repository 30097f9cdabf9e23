"""
The script `run`, as the README has it: it starts everything, and ends everything.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from example_projects._serving import DEADLINE
from tests._environment import clean_environment
from tests.processes.servers import eventually, free_port

pytest_plugins = ["tests._redis"]

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "fastapi_app" / "sample.mp4"


@contextmanager
def running_script(environment: dict[str, str], place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """
    Start `run` as from a terminal, in an environment that is installed already.
    """
    venv = place / "venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        venv.joinpath(name).symlink_to(Path(sys.prefix, name))
    venv.joinpath(".ready").touch()
    variables = clean_environment(VENV=str(venv), PLACE=str(place), SANDBOX_PORT="0") | environment
    script = subprocess.Popen([HERE / "run"], env=variables, start_new_session=True)
    try:
        yield script
    finally:
        script.terminate()
        script.wait()


def processes_of(place: Path) -> list[str]:
    """
    Return the names of the processes that work in *place*; Redis has no environment left, but its data there.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = os.fsencode(f"PLACE={place}\0") in process.joinpath("environ").read_bytes()
            if told or process.joinpath("cwd").readlink().is_relative_to(place):
                found.append(process.joinpath("comm").read_text().strip())
    return found


def answers(client: httpx2.Client) -> bool:
    """
    Whether the app is up.
    """
    with suppress(httpx2.TransportError):
        return client.get("/jobs").is_success
    return False


@pytest.mark.parametrize("queue", ["redis", "folder"])
def test_one_script_runs_it_all(queue: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """
    `run` starts everything, with Redis or without; a job is done and registered; Ctrl+C leaves no process behind.
    """
    port = free_port()
    environment = {"PORT": str(port)}
    if queue == "redis":
        request.getfixturevalue("redis_socket")  # skips where it is not installed
    else:
        tmp_path.joinpath("dirname").symlink_to(shutil.which("dirname"))
        environment["PATH"] = str(tmp_path)  # no redis-server there
    with (
        running_script(environment, tmp_path) as script,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as client,
    ):
        eventually(lambda: answers(client))
        client.post("/convert", content=SAMPLE.read_bytes()).raise_for_status()
        eventually(lambda: (client.get("/jobs").json()[0]["usage_point"] or {}).get("classification") == "billable")
        programs = processes_of(tmp_path)
        os.killpg(script.pid, signal.SIGINT)
        script.wait(DEADLINE)

    assert ("redis-server" in programs, script.returncode, processes_of(tmp_path)) == (queue == "redis", 0, [])

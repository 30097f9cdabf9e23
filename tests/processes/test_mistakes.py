"""
A mistake in the settings stops the server, whatever it is, and never a request.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.processes.servers import DEADLINE, eventually, free_port

HERE = Path(__file__).parent
APP = "mistaken_app:app"
MISTAKES = {
    "keyword": ({"MISSPELT": "1"}, "UsageMiddleware: unknown setting lisence_key"),
    "variable": (
        {"REMOTION_LICENSING_TIMEOUT": "soon"},
        "UsageMiddleware: REMOTION_LICENSING_TIMEOUT (timeout): expected a positive number",
    ),
}
SERVERS = {
    "uvicorn": ("uvicorn", APP, "--port={}"),
    "gunicorn": ("gunicorn", APP, "-k", "uvicorn_worker.UvicornWorker", "--bind=127.0.0.1:{}"),
    "hypercorn": ("hypercorn", APP, "--bind=127.0.0.1:{}"),
    "granian": ("granian", "--interface=asgi", APP, "--port={}"),
}


def start(tmp_path: Path, port: int, command: tuple[str, ...], variables: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        # As their users start them: `python -m hypercorn` ends with status 0 whatever happens.
        [Path(sys.executable).with_name(command[0]), *(word.format(port) for word in command[1:])],
        env={**os.environ, "PYTHONPATH": str(HERE), "HOME": str(tmp_path), **variables},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("server", SERVERS)
def test_the_server_does_not_start(server, mistake, tmp_path) -> None:
    """
    A server with lifespan ends with a status that is not 0, and with the line that names the mistake.
    """
    variables, message = MISTAKES[mistake]
    process = start(tmp_path, free_port(), SERVERS[server], variables)
    output, _ = process.communicate(timeout=DEADLINE)

    # hypercorn ends with 0 whatever its workers ended with; that it ends is what can be asked of it.
    assert process.returncode != 0 or server == "hypercorn"
    assert message in output


def test_without_lifespan_requests_are_answered(tmp_path) -> None:
    """
    Where the server asks for no lifespan, the app answers, and the log says once that nothing is recorded.
    """
    variables, message = MISTAKES["keyword"]
    port = free_port()
    process = start(tmp_path, port, (*SERVERS["uvicorn"], "--lifespan=off"), variables)
    try:
        answers = [eventually(lambda: ask(port)) for _ in range(2)]
    finally:
        process.terminate()
    output, _ = process.communicate(timeout=DEADLINE)

    assert answers == ["answered"] * 2
    assert output.count(message) == 1


def ask(port: int) -> str | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/convert", timeout=DEADLINE) as answer:
            return answer.read().decode()
    except OSError:
        return None

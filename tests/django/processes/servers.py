"""
The project of `tests.django.admin_project` in servers and commands of their own processes.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests._environment import clean_environment
from tests.processes.servers import DEADLINE, eventually, free_port

PROJECT = "tests.django.admin_project"
KEY = "rm_pub_django"

# Asked to end while it still boots a worker, gunicorn forgets that one until this time is over, by default 30 s.
_GUNICORN = ("gunicorn", f"{PROJECT}.wsgi", "--graceful-timeout=10")
#: The command line of each server; the last word goes before host and port.
COMMANDS: dict[str, tuple[str, ...]] = {
    "gunicorn-sync": _GUNICORN,
    "gunicorn-sync-4": (*_GUNICORN, "--workers=4"),
    "gunicorn-gthread-4-preload": (*_GUNICORN, "-k", "gthread", "--threads=4", "--workers=4", "--preload"),
    "uvicorn-4": ("uvicorn", f"{PROJECT}.asgi:application", "--workers=4"),
    "runserver": ("django", "runserver"),
}
#: How each program is told its port.
LISTEN = {"gunicorn": "--bind=127.0.0.1:{}", "uvicorn": "--port={}", "django": "127.0.0.1:{}"}


def environment(database: Path | Mapping[str, Any], **changes: str) -> dict[str, str]:
    """
    Return the environment of a process over *database*, a SQLite file or an entry of `DATABASES`.

    It knows nothing of the test run: there the recorder starts no threads.
    """
    file = {"TEST_DATABASE_FILE": str(database)} if isinstance(database, (str, Path)) else {}
    entry = {"TEST_DATABASE": json.dumps(database)} if isinstance(database, Mapping) else {}
    settings = {
        "DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings",
        "PYTHONWARNINGS": "error",
        "REMOTION_LICENSE_KEY": KEY,
        "REMOTION_LICENSING_BASE_URL": "http://127.0.0.1:9",
        "REMOTION_LICENSING_DELIVERY": "off",
    }
    return clean_environment(**{**settings, **file, **entry, **changes})


def manage(*words: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """
    Start `manage.py` with *words*.
    """
    command = [sys.executable, "-m", "django", *words]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Server:
    """
    One server over *database*, with its own process group; as a context manager it is ready, and killed at the end.

    Args:
        name: Which of `COMMANDS`.
        place: Where its log goes; defaults to the folder of the database's file.
        changes: Further environment variables.
    """

    def __init__(
        self, name: str, database: Path | Mapping[str, Any], *, place: Path | None = None, **changes: str
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        place = place or Path(str(database)).parent
        self._log = place / f"server-{self.port}.log"
        program = COMMANDS[name]
        self._command = [sys.executable, "-m", *program, LISTEN[program[0]].format(self.port)]
        # gunicorn keeps a socket at home, which servers of other tests would share.
        self._environment = environment(database, HOME=str(place), **changes)

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            eventually(self._is_ready)
        except BaseException as error:
            self.kill()
            error.add_note(self.output)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        if error is not None:
            error.add_note(self.output)

    @property
    def pid(self) -> int:
        """
        Process id of the server's first process.
        """
        return self._process.pid

    @property
    def output(self) -> str:
        """
        Everything the server has printed so far.
        """
        return self._log.read_text(errors="replace")

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, "the server ended instead of starting"
        with suppress(OSError):
            return self.call("/health", "GET") is not None
        return False

    def call(self, path: str, method: str = "POST") -> dict[str, Any]:
        """
        Return the JSON answer of *path* as soon as its last byte is here.
        """
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as connection:
            connection.request(method, path, headers={"Origin": "https://myapp.com", "Content-Length": "0"})
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, (response.status, body)
            answer: dict[str, Any] = json.loads(body)
            return answer

    def stop(self) -> int:
        """
        Ask the first process to end, and return its exit code.
        """
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(DEADLINE)

    def kill(self) -> None:
        """
        Kill every process of the server, as a power cut would.
        """
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

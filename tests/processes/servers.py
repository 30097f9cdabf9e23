"""
Real servers in processes of their own, and the client that calls them.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

DEADLINE = 30.0  # seconds for whatever must happen sooner or later
KEY = "rm_pub_processes"
HERE = Path(__file__).parent

# Asked to end while it still boots a worker, gunicorn forgets that one until this time is over, by default 30 s.
_GUNICORN = ("gunicorn", "conversion_app:app", "-k", "uvicorn_worker.UvicornWorker", "--graceful-timeout=10")
_UVICORN = ("uvicorn", "conversion_app:app")

#: The command line of each server; its port comes last.
COMMANDS: dict[str, tuple[str, ...]] = {
    "uvicorn": _UVICORN,
    "uvicorn-4": (*_UVICORN, "--workers=4"),
    "uvicorn-4-limited": ("uvicorn", "limited_app:app", "--workers=4"),
    "gunicorn": _GUNICORN,
    "gunicorn-4": (*_GUNICORN, "--workers=4"),
    "gunicorn-preload": (*_GUNICORN, "--preload"),
    "gunicorn-4-preload": (*_GUNICORN, "--workers=4", "--preload"),
    "hypercorn": ("hypercorn", "conversion_app:app"),
    "granian": ("granian", "--interface=asgi", "conversion_app:app"),
}
#: How these programs are told their port; the others bind an address.
_LISTEN = {"uvicorn": "--port={}", "granian": "--port={}"}


class ServerProcess:
    """
    A server with its own process group; used as a context manager it is ready, and killed at the end.

    Args:
        command: Returns the words after `python -m` for a port.
        environment: All of its environment variables, but `HOME`.
        folder: Where its log goes, and where its home is.
    """

    def __init__(self, command: Callable[[int], tuple[str, ...]], environment: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", *command(self.port)]
        # gunicorn keeps a socket at home, which servers of other tests would share.
        self._environment = {**environment, "HOME": str(folder)}
        self._log = folder / f"server-{self.port}.log"

    @property
    def pid(self) -> int:
        """
        Process id of the server's first process: the master, if it has workers.
        """
        return self._process.pid

    @property
    def output(self) -> str:
        """
        Everything the server has printed so far.
        """
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._log.parent,  # which stays, unlike that of the test which happens to start it
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

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, "the server ended instead of starting"
        with suppress(OSError):
            return self.call("/health", "GET") is not None
        return False

    def call(self, path: str, method: str = "POST") -> dict[str, Any]:
        """
        Return the JSON answer of *path* as soon as its last byte is here.
        """
        answer: dict[str, Any] = json.loads(self.request(method, path)[1])
        return answer

    def request(self, method: str, path: str) -> tuple[Mapping[str, str], bytes]:
        """
        Return headers and body of a successful response as soon as its last byte is here.
        """
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as connection:
            connection.request(method, path, headers={"Origin": "https://myapp.com"})
            response = connection.getresponse()
            body = response.read()
            assert response.status in {200, 204}, (response.status, body)
            return response.headers, body

    def send(self, number: signal.Signals) -> None:
        """
        Send a signal to the first process.
        """
        self._process.send_signal(number)

    def kill(self) -> None:
        """
        Kill every process of the server, as a power cut would.
        """
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """
        Ask the first process to end; return its exit code and how many seconds that took.
        """
        started = time.monotonic()
        self.send(number)
        code = self._process.wait(DEADLINE)
        return code, time.monotonic() - started


class Server(ServerProcess):
    """
    The conversion app over *outbox* in one of `COMMANDS`.

    Args:
        name: Which of them.
        base_url: Where the licensing API is.
        options: Further words of the command line.
        environment: Further environment variables.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        outbox: Path,
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        listen = _LISTEN.get(name.partition("-")[0], "--bind=127.0.0.1:{}")
        settings = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "REMOTION_LICENSE_KEY": KEY,
            "REMOTION_LICENSING_BASE_URL": base_url,
            "REMOTION_LICENSING_OUTBOX": f"sqlite:///{outbox}",
            **(environment or {}),
        }
        super().__init__(lambda port: (*COMMANDS[name], listen.format(port), *options), settings, outbox.parent)

    def convert(self) -> dict[str, Any]:
        """
        Call the conversion, and return which usage point it has and which process answered.
        """
        return self.call("/convert")


def eventually(condition: Callable[[], Any], *, within: float = DEADLINE) -> Any:
    """
    Return the first true value of *condition*; fail when there is none in time.
    """
    give_up = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < give_up, f"not within {within} s"
        time.sleep(0.02)
    return value


def free_port() -> int:
    """
    Return a port that nobody listens on, below those the kernel gives to outgoing connections.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port

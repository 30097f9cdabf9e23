"""
The site: a web server with workers, and a deliverer beside it, all of which can be killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, Self

from tests._environment import clean_environment

from .clock import VARIABLE, set_error
from .stores import Store

REPOSITORY: Final = Path(__file__).parent.parent
_PATIENCE: Final = 60.0  # seconds for a start or an end
_ASGI: Final = ("soak.app:app", "-k", "uvicorn_worker.UvicornWorker")
_DJANGO: Final = ("django.core.wsgi:get_wsgi_application()", "-k", "gthread", "--threads=8")


class Site:
    """
    Runs in *folder* over *store*, and sends to the API at *api_url*; used as a context manager it is ready.

    Args:
        workers: How many the web server has.
        changes: Further environment variables of all its processes.
    """

    def __init__(
        self, folder: Path, store: Store, *, api_url: str, workers: int, changes: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.spill = folder / "spill.sqlite3"
        self.ended = 0  # how often a deliverer ended by itself
        self._folder = folder
        self._store = store
        self._workers = workers
        self._environment = clean_environment(
            HOME=str(folder),
            REMOTION_LICENSE_KEY="rm_pub_soak",
            REMOTION_LICENSING_BASE_URL=api_url,
            # For an API that hangs now and then, and for claims of the dead.
            REMOTION_LICENSING_TIMEOUT="1",
            REMOTION_LICENSING_LEASE="5",
            REMOTION_LICENSING_CONCURRENCY="16",
            REMOTION_LICENSING_SPILL=f"sqlite:///{self.spill}",
            SOAK_COMMIT_WAIT="15",
            **{VARIABLE: str(folder / "clock")},
        )
        self._environment |= {**store.environment, **(changes or {})}
        self.set_clock(0)

    def __enter__(self) -> Self:
        is_django = "DJANGO_SETTINGS_MODULE" in self._environment
        self._server = self._start(
            "gunicorn",
            *(_DJANGO if is_django else _ASGI),
            "--preload",
            f"--workers={self._workers}",
            f"--bind=127.0.0.1:{self.port}",
            "--graceful-timeout=10",
            "--log-level=warning",
            log="server.log",
        )
        try:
            wait_for_port(self.port)
            self._deliverer = self._start_deliverer()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        processes = [self._server, *([] if self._deliverer is None else [self._deliverer])]
        for process in processes:
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            for process in processes:
                process.wait(_PATIENCE)
        self._kill()

    def _kill(self) -> None:
        for process in (self._server, getattr(self, "_deliverer", None)):
            if process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _start(self, *words: str, log: str) -> subprocess.Popen[bytes]:
        with (self._folder / log).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _start_deliverer(self) -> subprocess.Popen[bytes] | None:
        return self._start("soak.command", "deliver", log="deliverer.log") if self._store.asks else None

    def workers(self) -> list[int]:
        """
        Return the process ids of the web workers.
        """
        pid = self._server.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill_worker(self, which: float) -> bool:
        """
        Kill one worker, and return whether there was one; the web server starts another.
        """
        workers = self.workers()
        if workers:
            self._kill_workers([workers[int(which * len(workers))]])
        return bool(workers)

    def kill_workers(self) -> int:
        """
        Kill all workers, and return how many there were.
        """
        workers = self.workers()
        self._kill_workers(workers)
        return len(workers)

    def _kill_workers(self, pids: list[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_deliverer(self) -> bool:
        """
        Kill the deliverer and start another; return whether there was one.
        """
        if self._deliverer is None:
            return False
        self._deliverer.kill()
        self._deliverer.wait()
        self._deliverer = self._start_deliverer()
        return True

    def tend(self) -> None:
        """
        Start the deliverer anew when it has ended by itself.
        """
        if self._deliverer is not None and self._deliverer.poll() is not None:
            self.ended += 1
            self._deliverer = self._start_deliverer()

    def set_clock(self, error: float) -> None:
        """
        Make the clock of all processes wrong by so many seconds.
        """
        set_error(self._folder / "clock", error)

    def status(self) -> dict[str, Any]:
        """
        Return how many points are in each state, as the command line tells it.
        """
        status: dict[str, Any] = json.loads(self._ask("status", "--json"))
        return status

    def states(self) -> dict[str, str]:
        """
        Return the state of each point in the outbox that is not registered, by its key.
        """
        return {
            json.loads(row)["idempotency_key"]: state
            for state in ("pending", "rejected", "held", "deferred")
            for row in self._ask("list", "--json", "--limit=1000000", f"--state={state}").splitlines()
        }

    def retry(self) -> int:
        """
        Make the held points due again, as a person would decide, and return how many there were.
        """
        held = int(self.status()["held"])
        if held:
            self._ask("retry", "--all")
        return held

    def _ask(self, *words: str) -> str:
        command = [sys.executable, "-m", "soak.command", *words]
        return subprocess.run(
            command, cwd=self._folder, env=self._environment, check=False, stdout=subprocess.PIPE, text=True
        ).stdout

    def logs(self) -> str:
        """
        Return what all processes have logged.
        """
        return "".join(file.read_text(errors="replace") for file in sorted(self._folder.glob("*.log")))


def free_port() -> int:
    """
    Return a port that nobody listens at.
    """
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def wait_for_port(port: int) -> None:
    """
    Wait until somebody listens at *port*.
    """
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.05)
    msg = f"nobody listens at port {port}"
    raise RuntimeError(msg)

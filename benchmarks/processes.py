"""
Processes of the timings: what is measured on one core, the licensing API and the other loads on another.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

#: The cores of what is measured, and of what answers it.
MEASURED: Final = 1
OTHERS: Final = 0


class Worker:
    """
    A process that answers each line of words with a line of JSON, and works only while it is asked.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, *words: object) -> Any:
        """
        Return the answer to *words*.
        """
        print(*words, file=self._process.stdin, flush=True)
        return self._read()

    def finish(self) -> Any:
        """
        End the input, and return the answer to that.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def working(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Generator[Worker]:
    """
    A worker while the context lasts.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()


@contextmanager
def licensing_api(milliseconds: int) -> Generator[str]:
    """
    The URL of a licensing API that takes this long for each answer, while the context lasts.
    """
    port = free_port()
    command = [sys.executable, "-m", f"{__package__}.server_api", str(port), str(milliseconds)]
    with subprocess.Popen(pinned(OTHERS, command)) as process:
        try:
            _await(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def pinned(cpu: int, command: Sequence[str]) -> list[str]:
    """
    Return *command* such that it runs on the core *cpu* only, where the system can do that.
    """
    prefix = [] if shutil.which("taskset") is None else ["taskset", "-c", str(cpu % (os.cpu_count() or 1))]
    return [*prefix, *command]


def free_port() -> int:
    """
    Return a port that nobody listens at.
    """
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def _await(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    msg = f"nobody listens at port {port}"
    raise RuntimeError(msg)

"""
The clients: they call as fast as they get answers, and write down each key whose answer has arrived whole.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, Self

from .api import to_number

#: Points that may wait for their registration; beyond that the clients wait, so that kills meet deliveries, too.
BACKLOG: Final = 20_000
#: Seconds that they wait at the most: a worker of a Django project delivers only once it has had a request.
TRICKLE: Final = 2.0
PATIENCE: Final = 60.0  # seconds for an answer


class Load:
    """
    Calls the server at *port* from *clients* threads while its context lasts, with *batch* points in each request.

    Attributes:
        acknowledged: How many points have been answered for.
        registered: How many of all have been registered, as far as the caller knows.
        seen: How many requests ended how.
        slowest: Seconds of the slowest answer.
    """

    def __init__(self, port: int, keys: Path, *, clients: int, batch: int) -> None:
        self.acknowledged = self.registered = 0
        self.seen: Counter[str] = Counter()
        self.slowest = 0.0
        self._port = port
        self._batch = batch
        self._keys = keys.open("a")
        self._firsts = itertools.count(0, batch)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._keys.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            with closing(HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)) as connection:
                try:
                    self._call(connection)
                except TimeoutError:
                    self._note("without an answer")
                except (OSError, HTTPException):
                    self._note("broken off")
                    self._stopped.wait(0.01)  # a server with all its workers dead refuses at once

    def _call(self, connection: HTTPConnection) -> None:
        while not self._stopped.is_set():
            until = time.monotonic() + TRICKLE
            while self.acknowledged - self.registered > BACKLOG and time.monotonic() < until:
                self._stopped.wait(0.02)
            began = time.monotonic()
            connection.request("POST", f"/convert?first={next(self._firsts)}&number={self._batch}")
            response = connection.getresponse()
            body = response.read()
            if response.status == 200:  # noqa: PLR2004 - OK
                self._acknowledge(json.loads(body), time.monotonic() - began)
            else:
                self._note(f"answered {response.status}")

    def _acknowledge(self, keys: list[str], seconds: float) -> None:
        with self._lock:
            self._keys.write("".join(f"{key}\n" for key in keys))
            self.acknowledged += len(keys)
            self.seen["answered"] += 1
            self.slowest = max(self.slowest, seconds)

    def _note(self, what: str) -> None:
        with self._lock:
            self.seen[what] += 1


def read_keys(file: Path) -> set[int]:
    """
    Return the keys that were written down, as numbers.
    """
    with file.open() as lines:
        return {to_number(line) for line in lines}

"""
The sandbox as a running server: `Sandbox`, what tests and the command line start.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ...errors import ConfigurationError
from .failures import Failure, FailureSwitch, Mode
from .listener import Listener
from .state import Ledger, StoredPoint

if TYPE_CHECKING:
    from types import TracebackType

MAX_PORT: Final = 65_535
WILDCARDS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, never bound here


class Sandbox:
    """
    A local licensing server that behaves as the documented licensing API.

    Start it with `with Sandbox() as sandbox:` and use `sandbox.url` as `base_url`. Any key that begins with `rm_pub_`
    registers usage points, any that begins with `rm_sec_` reads usage. Its methods are safe in any thread.

    Args:
        host: Host name or address to listen on.
        port: Port to listen on; 0: any free one.
        file: JSON-lines file that keeps the points over a restart; `None`: memory only.

    Raises:
        ConfigurationError: *port* is out of range, or *file* holds something else than a ledger.
        OSError: *file* cannot be opened, or (from `start`) the port is taken.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, file: Path | str | None = None) -> None:
        if not 0 <= port <= MAX_PORT:
            msg = f"port: expected 0 to {MAX_PORT}, got {port}"
            raise ConfigurationError(msg)
        self._host = host
        self._port = port
        self._switch = FailureSwitch()
        self._ledger = Ledger(Path(file) if file is not None else None)
        self._server: Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """
        Where the sandbox listens, such as `http://127.0.0.1:8484`; known once it has started.
        """
        host = WILDCARDS.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def requests(self) -> int:
        """
        How many requests to register a point arrived since the start or `clear()`, whatever their answer.
        """
        return self._ledger.requests

    def idempotency_keys(self) -> list[str | None]:
        """
        Return the idempotency key of each of those requests, in order, with repeats.
        """
        return self._ledger.idempotency_keys()

    def points(self) -> list[StoredPoint]:
        """
        Return the points that were counted, oldest first.
        """
        return self._ledger.points()

    def counts(self) -> dict[str, dict[str, int]]:
        """
        Return the number of points by event and classification.
        """
        return self._ledger.counts()

    def clear(self) -> None:
        """
        Forget all points and requests; the failure in force stays.
        """
        self._ledger.clear()

    @property
    def failure(self) -> Failure:
        """
        The failure in force.
        """
        return self._switch.current

    def set_failure(
        self,
        mode: Mode | None = None,
        *,
        latency_ms: int = 0,
        retry_after: int | None = 5,
        first: int | None = None,
        count_first: bool = False,
    ) -> None:
        """
        Fail as `Failure` describes, from the next request on; without arguments: answer normally again.

        Raises:
            ConfigurationError: A value is out of range, or does not go with *mode*.
        """
        self._switch.set(
            Failure(mode=mode, latency_ms=latency_ms, retry_after=retry_after, first=first, count_first=count_first)
        )

    def wait_for(self, *, points: int = 0, requests: int = 0, timeout: float = 5.0) -> list[StoredPoint]:
        """
        Wait until at least *points* were counted and *requests* have arrived; return the points.

        Raises:
            TimeoutError: That did not happen within *timeout* seconds.
        """
        ledger = self._ledger
        if ledger.wait(lambda: len(ledger.points()) >= points and ledger.requests >= requests, timeout):
            return ledger.points()
        msg = f"after {timeout} s: {len(ledger.points())} of {points} points, {ledger.requests} of {requests} requests"
        raise TimeoutError(msg)

    def start(self) -> None:
        """
        Listen and answer, until `stop()`.

        Raises:
            OSError: The port is taken.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=512)
        self._port = listener.getsockname()[1]
        self._server = Listener(self._ledger, self._switch, self._host)
        self._thread = threading.Thread(
            target=self._server.run_on, args=(listener,), name="remotion-licensing-sandbox", daemon=True
        )
        self._thread.start()
        self._server.ready.wait()

    def stop(self) -> None:
        """
        Stop at once, also with answers that hang, and close the file.
        """
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
        self._ledger.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

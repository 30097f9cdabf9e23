"""
The sandbox as a running server: `Sandbox`, which tests and the command line start.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any, Final, Self

from ...errors import ConfigurationError
from .api import Answer, Api, Request
from .failures import Failure, FailureSwitch, Mode
from .ledger import CountedPoint, Ledger

MAX_PORT: Final = 65_535
WILDCARDS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, never bound here
LENGTH: Final = re.compile("[0-9]{1,7}")  # of a body that is read, so that a client sees why it is refused
LOOK: Final = 0.05  # seconds between looks for the stop
SHUTDOWN_ENDS_READS: Final = os.name == "posix"  # https://github.com/python/cpython/issues/91913 has it for Windows


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
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """
        Where the sandbox listens; known once it has started.

        It is an address such as `http://127.0.0.1:8484`.
        """
        host = WILDCARDS.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def requests(self) -> int:
        """
        How many requests to register a point arrived since the start or `clear()`, with any answer.
        """
        return self._ledger.requests

    def idempotency_keys(self) -> list[str | None]:
        """
        Return the idempotency key of each of those requests, in order, with repeats.
        """
        return self._ledger.idempotency_keys()

    def points(self) -> list[CountedPoint]:
        """
        Return the points that were counted, oldest first.
        """
        return self._ledger.points()

    def counts(self) -> dict[str, dict[str, int]]:
        """
        Return the number of points by event and classification.
        """
        return self._ledger.counts()

    def lose(self, idempotency_key: str) -> int:
        """
        Lose the points with this key, although their registration was answered; return how many.

        So a test can see that `remotion-licensing reconcile` notices.
        """
        return self._ledger.lose(idempotency_key)

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
        Fail in this way from the next request on; without arguments: answer normally again.

        Args:
            mode: `"500"`, `"429"`, `"400"`, `"422"`, `"refused"` (`success: false` with status 200), `"reset"` (after
                the request was read), `"hang"`, `"key"` (401), `"html"` (with status 200); `None`: the normal answer.
            latency_ms: Milliseconds that every answer is held back.
            retry_after: Seconds in the `Retry-After` header of a 429, or `None`: no such header.
            first: How many requests this lasts for, then the sandbox recovers; `None`: until changed.
            count_first: Whether the point is counted before the failure, so that only the answer is lost.

        Raises:
            ConfigurationError: A value is out of range, or does not go with *mode*.
        """
        self._switch.set(
            Failure(mode=mode, latency_ms=latency_ms, retry_after=retry_after, first=first, count_first=count_first)
        )

    def wait_for(self, *, points: int = 0, requests: int = 0, timeout: float = 5.0) -> list[CountedPoint]:
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
        self._server = _Server(self._host, self._port, Api(self._ledger, self._switch, self._host))
        self._port = self._server.server_address[1]
        self._server.start()

    def stop(self) -> None:
        """
        Stop at once, also with answers that hang, and close the file.
        """
        if self._server is not None:
            self._server.stop()
        self._ledger.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(ThreadingTCPServer):
    """
    Listens, with a thread for each connection; all threads are daemons, in case nothing calls `stop()`.
    """

    request_queue_size = 512
    allow_reuse_address = os.name == "posix"  # elsewhere it would allow two servers on one port

    def __init__(self, host: str, port: int, api: Api) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._stopping = threading.Event()
        self._clients: list[tuple[threading.Thread, socket.socket]] = []
        self._thread = threading.Thread(
            target=self.serve_forever, args=(LOOK,), name="remotion-licensing-sandbox", daemon=True
        )
        super().__init__((host, port), partial(_Handler, api, self._stopping))

    def start(self) -> None:
        """
        Answer new connections.
        """
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """
        Start the thread of a new connection.
        """
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._clients = [client for client in self._clients if client[0].is_alive()]
        self._clients.append((thread, request))
        thread.start()

    def stop(self) -> None:
        """
        End every connection, also one in the middle of a request or of an answer that hangs, and every thread.
        """
        self._stopping.set()
        self.shutdown()
        self.server_close()
        for thread, connection in self._clients:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            if not SHUTDOWN_ENDS_READS:
                with suppress(OSError):
                    socket.close(connection.detach())
            thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """
        Print the traceback of an error; it is none when the stop has closed the connection.
        """
        if not self._stopping.is_set():
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """
    Reads the requests of one connection and sends their answers.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go out one by one: the second must not wait for an acknowledgement

    def __init__(self, api: Api, stopping: threading.Event, *connection: Any) -> None:
        self._api = api
        self._stopping = stopping
        super().__init__(*connection)

    def handle(self) -> None:
        """
        Serve until the connection ends; it is no error when the client or the stop ends it.
        """
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server names it so
        """
        Log nothing.
        """

    def _respond(self) -> None:
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not LENGTH.fullmatch(length):
            self.send_error(411, "Content-Length: expected a number below 10,000,000")
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return
        answer = self._api.answer(Request(self.command, self.path.partition("?")[0], self.headers, body))
        self._stopping.wait(answer.delay)
        if answer.instead is None:
            self._send(answer)
        elif answer.instead == "hang":
            self.rfile.read()  # until the client leaves, or the stop ends the connection
        else:
            self._reset()

    do_GET = do_POST = do_OPTIONS = _respond  # noqa: N815 - http.server asks for these names

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _reset(self) -> None:
        # The fault: a connection that breaks after the request was read (test_server.py, `test_reset_is_a_real_reset`).
        # Lingering for zero seconds makes the kernel send RST, where a plain close sends FIN. Detached, because the
        # files made of a socket keep it open.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())
        self.close_connection = True

"""
ASGI apps under test: one exchange at a time in this process, or a real uvicorn and a raw socket.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from tests._http import httpx

KEY = "rm_pub_4bZ0kQ"
ORIGIN = "https://myapp.com"
PATIENCE = 10.0  # seconds, where none should be waited

#: Settings of a middleware that neither writes files nor sends anything.
QUIET: dict[str, Any] = {"license_key": KEY, "outbox": "memory://", "delivery": "off"}

App = Callable[..., Awaitable[None]]


@dataclass
class Exchange:
    """
    What came of one request.
    """

    scope: dict[str, Any]
    messages: list[Any] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def status(self) -> int | None:
        starts = [message["status"] for message in self.messages if message["type"] == "http.response.start"]
        return starts[0] if starts else None

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def ended(self) -> bool:
        last = self.messages[-1] if self.messages else {"type": ""}
        return last["type"] == "http.response.body" and not last.get("more_body", False)


def http_scope(method: str = "POST", path: str = "/convert", **more: Any) -> dict[str, Any]:
    """
    Return an http scope with nothing in it that the specification does not ask for.
    """
    headers = [(name.lower().encode(), value.encode()) for name, value in more.pop("headers", {}).items()]
    required = {"type": "http", "http_version": "1.1", "method": method, "path": path, "query_string": b""}
    return {**required, "headers": headers, "asgi": {"version": "3.0", "spec_version": "2.3"}, **more}


async def aexchange(
    app: App,
    method: str = "POST",
    path: str = "/convert",
    *,
    body: Sequence[bytes] = (b"",),
    leave_after: int | None = None,
    leave_at: float | None = None,
    broken_send: bool = False,
    **scope: Any,
) -> Exchange:
    """
    Send one request with a *body* in chunks to *app*, and return all that it did.

    The client leaves after *leave_after* messages of the response, or *leave_at* seconds after its request; with
    *broken_send* the server then raises `OSError` from send, as servers of ASGI 2.4 do.
    """
    exchange = Exchange(http_scope(method, path, **scope))
    gone = asyncio.Event()
    chunks = iter(body)
    left = len(body)
    if leave_after == 0:
        gone.set()
    if leave_at is not None:
        asyncio.get_running_loop().call_later(leave_at, gone.set)

    async def receive() -> dict[str, Any]:
        nonlocal left
        if left:
            left -= 1
            return {"type": "http.request", "body": next(chunks), "more_body": left > 0}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if gone.is_set():
            if broken_send:
                raise ConnectionResetError
            return
        exchange.messages.append(message)
        if len(exchange.messages) == leave_after:
            gone.set()

    try:
        await app(exchange.scope, receive, send)
    except BaseException as error:  # noqa: BLE001 - whatever leaves the app is what the test is about
        exchange.error = error
    return exchange


def exchange(app: App, method: str = "POST", path: str = "/convert", **options: Any) -> Exchange:
    """
    Same as `aexchange`, in an event loop of its own.
    """
    return asyncio.run(aexchange(app, method, path, **options))


def request(app: App, method: str, path: str, **options: Any) -> httpx.Response:
    """
    Send a request to *app* with the HTTP library; an error of the app becomes a 500.
    """

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://app.test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


class Server:
    """
    A uvicorn in a thread.

    Attributes:
        port: Where it listens.
        finished: Set when the app has returned from an http request, whatever came of it.
    """

    def __init__(self, app: App, listener: socket.socket) -> None:
        self._app = app
        self._listener = listener
        self.port = listener.getsockname()[1]
        self.finished = threading.Event()
        config = uvicorn.Config(
            self._serve, interface="asgi3", lifespan="on", log_config=None, timeout_graceful_shutdown=5
        )
        self.uvicorn = uvicorn.Server(config)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            if scope["type"] == "http":
                self.finished.set()

    def run(self) -> None:
        self.uvicorn.run(sockets=[self._listener])

    @contextmanager
    def client(self, method: str = "POST", path: str = "/convert", headers: Mapping[str, str] | None = None) -> Any:
        """
        Connect, send one request and yield the socket; leaving the block closes it.
        """
        lines = [f"{method} {path} HTTP/1.1", "Host: app.test"]
        lines += [f"{name}: {value}" for name, value in {"Content-Length": "0", **(headers or {})}.items()]
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            yield connection

    def wait(self) -> None:
        """
        Wait until the app is done with a request.
        """
        assert self.finished.wait(PATIENCE)


@contextmanager
def serving(app: App) -> Iterator[Server]:
    """
    Serve *app* on a free port.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(app, listener)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server
        finally:
            server.uvicorn.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def read_until(connection: socket.socket, text: bytes) -> bytes:
    """
    Read from *connection* until *text* has come, or the end.
    """
    data = b""
    while text not in data:
        chunk = connection.recv(65536)
        if not chunk:
            break
        data += chunk
    return data

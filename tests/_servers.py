"""
Real loopback servers that answer byte for byte as a test says, and both HTTP libraries to call them with.
"""

from __future__ import annotations

import functools
import importlib.util
import socket
import ssl
import struct
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

import remotion_licensing_integrations
from tests._systems import IS_POSIX

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path
    from types import ModuleType

    #: Plays one exchange on a connection whose request was read; false closes the connection.
    Script = Callable[[socket.socket, threading.Event], bool]

HTTP_MODULE = "remotion_licensing_integrations.api.http"
LIBRARIES = ("httpx2", "httpx")
SUCCESS = b'{"success":true,"billable":true,"classification":"billable"}'


@functools.cache
def load_http(library: str) -> ModuleType:
    """
    Import a copy of the HTTP module that uses *library*.
    """
    pytest.importorskip(library)
    spec = importlib.util.spec_from_file_location(
        HTTP_MODULE, f"{remotion_licensing_integrations.__path__[0]}/api/http.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for other in set(LIBRARIES[: LIBRARIES.index(library)]):
            patch.setitem(sys.modules, other, None)
        spec.loader.exec_module(module)
    return module


class RawServer:
    """
    Plays one script for each request it reads; the last script is repeated.

    Attributes:
        requests: Bytes of all requests read, head and body.
        connections: How many connections were accepted.
    """

    def __init__(self, scripts: tuple[Script, ...], context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""
        self._scripts = scripts
        self._context = context
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._accepted: list[socket.socket] = []

    @contextmanager
    def run(self) -> Generator[RawServer]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            scheme, host = ("http", "127.0.0.1") if self._context is None else ("https", "localhost")
            self.url = f"{scheme}://{host}:{listener.getsockname()[1]}"
            accepting = threading.Thread(target=self._accept, args=(listener,))
            accepting.start()
            try:
                yield self
            finally:
                self._stopped.set()
                # Wakes the thread in accept(); closing the listener alone does not.
                socket.create_connection(listener.getsockname()).close()
                # Wakes the threads that wait for another request of a client that keeps its connection.
                for connection in self._accepted:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)
                    if not IS_POSIX:
                        connection.close()
                for thread in [accepting, *self._threads]:
                    thread.join(10)
                    assert not thread.is_alive()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            if self._stopped.is_set():
                connection.close()
                return
            self.connections += 1
            self._accepted.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            while self._exchange(connection):
                pass
        except OSError:
            pass
        finally:
            connection.close()

    def _exchange(self, connection: socket.socket) -> bool:
        request = _read_request(connection)
        if not request:
            return False
        self.requests.append(request)
        script = self._scripts[min(len(self.requests), len(self._scripts)) - 1]
        return script(connection, self._stopped)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk or not (data or chunk).startswith(b"POST "):
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        body += chunk
    return head + b"\r\n\r\n" + body


def raw_server(*scripts: Script, context: ssl.SSLContext | None = None) -> Any:
    """
    Run a server that plays *scripts*, as a context manager.
    """
    return RawServer(scripts, context).run()


def answer(body: bytes = SUCCESS, status: int = 200, headers: dict[str, str] | None = None) -> Script:
    """
    Answer completely and keep the connection.
    """
    fields = {"Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return send(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body, keep=True)


def send(data: bytes, *, keep: bool = False) -> Script:
    """
    Send *data*, then close the connection unless it is to be kept.
    """

    def script(connection: socket.socket, _: threading.Event) -> bool:
        connection.sendall(data)
        return keep

    return script


def reset(data: bytes = b"") -> Script:
    """
    Send *data*, then break the connection with RST.
    """

    def script(connection: socket.socket, _: threading.Event) -> bool:
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    return script


def silence(data: bytes = b"", *, seconds: float = 5.0, then: bytes = b"") -> Script:
    """
    Send *data*, wait, then send the rest.
    """

    def script(connection: socket.socket, stopped: threading.Event) -> bool:
        connection.sendall(data)
        if not stopped.wait(seconds):
            connection.sendall(then)
        return False

    return script


def drip(start: bytes, pieces: Iterator[bytes] | list[bytes], *, every: float = 0.02) -> Script:
    """
    Send *start*, then one piece after another with a pause between them.
    """

    def script(connection: socket.socket, stopped: threading.Event) -> bool:
        connection.sendall(start)
        for piece in pieces:
            if stopped.wait(every):
                break
            connection.sendall(piece)
        return False

    return script


def tls_context(folder: Path) -> ssl.SSLContext:
    """
    Return a server's context with a certificate that nobody trusts, for `localhost`.
    """
    path = folder / "self-signed.pem"
    path.write_text(_SELF_SIGNED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


# Made for these tests alone, valid until 2126; it protects nothing.
_SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfpCN+5oKx1vPeH6t
7NP+BJAYERKa/WP+91MieU1kZzehRANCAATJQlQTKYT7P8+hlLFS02RyywxQFEpg
D0yKNElZv2Ya+Ra40XcSnDsksKq4ifu9dbRjFywhdtfhv/k2yWHJzqQ4
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUe6fcmVlUKGxRLynVevL5sHBTnmMwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE2NDQ0NVoYDzIxMjYxMDI5
MTY0NDQ1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATJQlQTKYT7P8+hlLFS02RyywxQFEpgD0yKNElZv2Ya+Ra40XcSnDsk
sKq4ifu9dbRjFywhdtfhv/k2yWHJzqQ4o2kwZzAdBgNVHQ4EFgQUN4TqJvBgKQ2K
RP3Jlq34omh7yP0wHwYDVR0jBBgwFoAUN4TqJvBgKQ2KRP3Jlq34omh7yP0wDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIhAPt0lHXokpBde3l3wh4lvx+jOBXofaEfz5KfqYM97wj4AiB6gd2srvJ7
bIkoJ/1O2w4wVZ3QIzX8bJMyzwn2qLWm/g==
-----END CERTIFICATE-----
"""

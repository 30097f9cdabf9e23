"""
A licensing API that takes its time and watches which points are sent, and sent at once.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests._servers import SUCCESS


class Watch:
    """
    What the API sees; it refuses each twentieth point once.

    Attributes:
        met: Keys that came while they were under way already.
        registered: Keys of the points that it has taken, with repeats.
    """

    def __init__(self, latency: float) -> None:
        self.url = ""
        self.met: list[str] = []
        self.registered: list[str] = []
        self._latency = latency
        self._lock = threading.Lock()
        self._under_way: set[str] = set()
        self._refused: set[str] = set()

    def answer(self, key: str) -> bool:
        """
        Return whether the point is taken.
        """
        with self._lock:
            self.met += {key} & self._under_way
            self._under_way.add(key)
        time.sleep(self._latency)
        with self._lock:
            self._under_way.discard(key)
            if zlib.crc32(key.encode()) % 20 == 0 and key not in self._refused:
                self._refused.add(key)
                return False
            self.registered.append(key)
            return True


@contextmanager
def watching(latency: float = 0.02) -> Iterator[Watch]:
    """
    Run such an API while the context lasts; each answer takes *latency* seconds.
    """
    watch = Watch(latency)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or the client waits for a delayed acknowledgement

        def do_POST(self) -> None:
            point = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = (200, SUCCESS) if watch.answer(point["idempotencyKey"]) else (500, b"{}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that was killed

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        watch.url = f"http://127.0.0.1:{server.server_port}"
        yield watch
        server.shutdown()

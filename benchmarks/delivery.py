"""
What delivering takes.
"""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from remotion_licensing_integrations import LicensingClient, Settings
from remotion_licensing_integrations.delivery.deliverer import Deliverer
from remotion_licensing_integrations.outbox import MemoryOutbox, SQLiteOutbox

from .common import point, rate, report


class SlowAPI(BaseHTTPRequestHandler):
    """
    A licensing API that takes `latency` seconds.
    """

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or the client waits for a delayed acknowledgement
    latency = 0.05
    answer = b'{"success":true,"billable":true,"classification":"billable"}'

    def do_POST(self) -> None:
        """
        Register anything.
        """
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(self.latency)
        self.send_response(200)
        self.send_header("content-length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        """
        Say nothing.
        """


def bench_delivery(folder: Path) -> None:
    """
    Delivery with claim and update, beside what the connections could carry at the most.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowAPI)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    for latency in (0.02, 0.05, 0.1):
        SlowAPI.latency = latency
        settings = Settings(license_key="rm_pub_bench", base_url=url, concurrency=8)
        outbox = SQLiteOutbox(folder / f"delivery-{latency}.sqlite3")
        outbox.add([point() for _ in range(600)])
        delivered = deliver_all(outbox, settings)
        report(f"delivery: {latency * 1e3:.0f} ms latency, 8 at a time", delivered, "/s", 8 / latency, "8 / latency")
        outbox.close()
    SlowAPI.latency = 0
    with LicensingClient("rm_pub_bench", base_url=url) as client:
        alone = rate(500, lambda: client.register_usage_event(event="cloud-render", host=None, succeeded=True))
    memory = MemoryOutbox()
    memory.add([point() for _ in range(1000)])
    settings = Settings(license_key="rm_pub_bench", base_url=url, concurrency=1)
    report("delivery: no latency, 1 at a time", deliver_all(memory, settings), "/s", alone, "the client alone")
    server.shutdown()


def deliver_all(outbox: Any, settings: Settings) -> float:
    """
    Deliver everything and return the points a second.
    """
    deliverer = Deliverer(outbox, settings)
    start = time.perf_counter()
    delivered = deliverer.deliver()
    deliverer.close()
    return delivered / (time.perf_counter() - start)

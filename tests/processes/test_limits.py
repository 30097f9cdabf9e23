"""
A usage limit that many processes share.
"""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

from tests.processes.servers import DEADLINE

LIMIT = 10
WORKERS = 4
REQUESTS = 50


def convert(port: int) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as connection:
        connection.request("POST", "/convert", headers={"Origin": "https://myapp.com"})
        response = connection.getresponse()
        response.read()
        return response.status


def test_a_limit_holds_across_processes(serve, sandbox, tmp_path):
    """
    Of 50 requests at a time, 10 pass in four workers, and at most one more for each; the next month they pass again.
    """
    clock = tmp_path / "clock"
    clock.write_text(datetime.now(UTC).isoformat())
    environment = {"CLOCK": str(clock), "REMOTION_PRIVATE_LICENSE_KEY": "rm_sec_processes"}
    with serve("uvicorn-4-limited", base_url=sandbox.url, environment=environment) as server:
        with ThreadPoolExecutor(REQUESTS) as clients:
            statuses = list(clients.map(convert, [server.port] * REQUESTS))
        passed = statuses.count(200)

        assert LIMIT <= passed <= LIMIT + WORKERS
        assert statuses.count(429) == REQUESTS - passed
        assert len(sandbox.wait_for(points=passed, timeout=DEADLINE)) == passed

        clock.write_text((datetime.now(UTC) + timedelta(days=31)).isoformat())
        assert convert(server.port) == 200

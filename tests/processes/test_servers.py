"""
Servers of other makes, and a deliverer that is a process of its own.
"""

from __future__ import annotations

import pytest

from remotion_licensing_integrations import Settings, UsageRecorder
from tests.processes.servers import KEY


@pytest.mark.parametrize("name", ["hypercorn", "granian"])
def test_other_servers_register_points(name, serve, sandbox):
    """
    The middleware asks nothing of a server but ASGI.
    """
    with serve(name, base_url=sandbox.url) as server:
        key = server.convert()["idempotency_key"]
        server.stop()
        assert sandbox.idempotency_keys() == [key]


def test_another_process_delivers_what_servers_record(serve, sandbox, outbox):
    """
    With `delivery="external"` the servers send nothing, and `deliver()` elsewhere sends each point once.
    """
    external = {"REMOTION_LICENSING_DELIVERY": "external"}
    with serve("gunicorn-4", base_url=sandbox.url, environment=external) as server:
        keys = sorted(server.convert()["idempotency_key"] for _ in range(10))
        server.stop()
        assert sandbox.requests == 0
    settings = Settings(license_key=KEY, base_url=sandbox.url, outbox=f"sqlite:///{outbox}", delivery="external")
    recorder = UsageRecorder(settings)
    try:
        assert recorder.deliver() == 10
    finally:
        recorder.stop()
    assert sorted(sandbox.idempotency_keys()) == keys

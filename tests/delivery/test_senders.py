"""
The threads that send: what closing them leaves.
"""

from __future__ import annotations

import threading
from typing import Any

from remotion_licensing_integrations.delivery.senders import SenderPool
from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.points import UsagePoint
from remotion_licensing_integrations.settings import LicenseKeys, Settings
from tests._delivery import OK, PATIENCE, Api


def senders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "remotion-usage-sender"]


def test_closing_ends_a_busy_thread() -> None:
    """
    A thread that sends while the pool is closed ends after its point, also when the points behind it are taken back.
    """
    arrived, leave = threading.Event(), threading.Event()

    def slow(body: dict[str, Any]) -> Any:
        arrived.set()
        assert leave.wait(PATIENCE)
        return OK(body)

    before = senders()
    outbox = MemoryOutbox()
    outbox.add([UsagePoint(event="cloud-render", host=None, succeeded=True) for _ in range(3)])
    settings = Settings(license_key="rm_pub_4bZ0kQ", base_url="http://api.test")
    pool = SenderPool(settings, LicenseKeys(settings), Api(slow).transport, clock=lambda: 0.0)
    pool.send(outbox.claim(3, lease=60), begin_by=1.0, threads=1)
    assert arrived.wait(PATIENCE)
    pool.close()

    assert len(pool.take_back()) == 2
    [thread] = set(senders()) - set(before)
    leave.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()

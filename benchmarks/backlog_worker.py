"""
Delivers from one outbox in a process of its own: `python -m benchmarks.backlog_worker URL FILE`.

Run by `backlog.py`. For each line on its input it does one thing and answers with figures:

    drain SECONDS               deliver for so long: points a second
    add COUNT                   add so many points, one every 10 ms: microseconds of each
    add-while-draining COUNT    both at once
    memory                      resident megabytes, now and at the peak
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from remotion_licensing_integrations import Settings
from remotion_licensing_integrations.delivery import Deliverer
from remotion_licensing_integrations.outbox import SQLiteOutbox

from .common import point

PAUSE = 0.01  # seconds between two points
WARM_UP = 0.3  # seconds of delivery: what waits gets cold, and the connections open at first

Figures = dict[str, float]


class Backlog:
    """
    An outbox and its deliverer.
    """

    def __init__(self, outbox: SQLiteOutbox, deliverer: Deliverer) -> None:
        self._outbox = outbox
        self._deliverer = deliverer

    def drain(self, seconds: float) -> Figures:
        """
        Deliver for *seconds*.
        """
        self._deliverer.deliver(WARM_UP)
        start = time.perf_counter()
        delivered = self._deliverer.deliver(seconds)
        passed = time.perf_counter() - start
        if passed < seconds:
            msg = f"only {delivered:,} points were there"
            raise RuntimeError(msg)
        return {"rate": delivered / passed}

    def add(self, count: float) -> Figures:
        """
        Add *count* points, one at a time.
        """
        times = []
        for _ in range(int(count)):
            new = point()
            start = time.perf_counter()
            self._outbox.add([new])
            times.append((time.perf_counter() - start) * 1e6)
            time.sleep(PAUSE)
        times.sort()
        return {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}

    def add_while_draining(self, count: float) -> Figures:
        """
        Add *count* points while another thread delivers.
        """
        figures: Figures = {}
        thread = threading.Thread(target=lambda: figures.update(self.drain(2 * PAUSE * count)))
        thread.start()
        time.sleep(WARM_UP)
        added = self.add(count)
        thread.join()
        return {**added, **figures}


def memory(_: float) -> Figures:
    """
    Return the resident memory of this process in megabytes.
    """
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    kilobytes = {line[0]: int(line[1]) for line in lines if line[0] in {"VmRSS:", "VmHWM:"}}
    return {"now": kilobytes["VmRSS:"] / 1024, "peak": kilobytes["VmHWM:"] / 1024}


def main() -> None:
    """
    Do what the input says.
    """
    url, file = sys.argv[1:]
    settings = Settings(license_key="rm_pub_bench", base_url=url)
    with closing(SQLiteOutbox(file)) as outbox, closing(Deliverer(outbox, settings)) as deliverer:
        backlog = Backlog(outbox, deliverer)
        works = {
            "drain": backlog.drain,
            "add": backlog.add,
            "add-while-draining": backlog.add_while_draining,
            "memory": memory,
        }
        for line in sys.stdin:
            word, _, number = line.strip().partition(" ")
            print(json.dumps(works[word](float(number or 0))), flush=True)


if __name__ == "__main__":
    main()

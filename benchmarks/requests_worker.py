"""
Serves requests in a process of its own: `python -m benchmarks.requests_worker FILE`, with the outbox in FILE.

Run by `before.py`. For each line `other|counted|together REQUESTS` on its input it serves so many requests to an
endpoint that is not decorated, to a decorated one, or to that all at once, and answers what that took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from remotion_licensing_integrations import Settings, UsageRecorder, usage_point
from remotion_licensing_integrations.asgi import UsageMiddleware

from .asgi import app_of, serve, serve_together


@usage_point("cloud-render")
async def _endpoint() -> None:
    pass


def main() -> None:
    """
    Serve what the input says.
    """
    recorder = UsageRecorder(Settings(license_key="rm_pub_bench", delivery="off", outbox=f"sqlite:///{sys.argv[1]}"))
    recorder.start()
    other, counted = (UsageMiddleware(app_of(1, work), recorder=recorder) for work in (None, _endpoint))
    kinds: dict[str, tuple[Any, Any]] = {
        "other": (serve, other),
        "counted": (serve, counted),
        "together": (serve_together, counted),
    }
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            kind, number = line.split()
            run, app = kinds[kind]
            wall, cpu = time.perf_counter(), time.process_time()
            runner.run(run(app, int(number)))
            seconds = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            print(json.dumps({**seconds, "points": int(number)}), flush=True)
    recorder.stop()


if __name__ == "__main__":
    main()

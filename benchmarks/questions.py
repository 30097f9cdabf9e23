"""
What a person waits for who asks an outbox of a million points: commands as whole processes, and the dashboard's page.

The reference is the same question to an empty outbox, which is mostly the start of Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

from starlette.testclient import TestClient

from remotion_licensing_integrations import Registration, Settings, UsagePoint, UsageRecorder
from remotion_licensing_integrations.dashboard import usage_dashboard
from remotion_licensing_integrations.outbox import Outbox, open_outbox
from remotion_licensing_integrations.points import utc_now
from tests._postgresql import find_binaries, run_server
from tests._server_outbox import to_url

from .common import report

POINTS: Final = 1_000_000
CHUNK: Final = 2_000
ROUNDS: Final = 5
KEY: Final = "asked-about"
COMMANDS: Final = (("status",), ("list",), ("list", "--state", "pending"), ("show", KEY), ("report",))


def bench_questions(folder: Path) -> None:
    """
    Ask SQLite, and PostgreSQL where there is one.
    """
    _bench("SQLite", *(f"sqlite:///{folder / name}.sqlite3" for name in ("full", "empty")))
    binaries = find_binaries()
    if binaries is None:
        print("  no PostgreSQL server here")
        return
    with run_server(binaries) as full, run_server(binaries) as empty:
        _bench("PostgreSQL", to_url(full.entry), to_url(empty.entry))


def _bench(name: str, full: str, empty: str) -> None:
    for url, points in ((full, POINTS), (empty, 1)):
        with closing(open_outbox(url)) as outbox:
            _fill(outbox, points)
    for command in COMMANDS:
        words = f"{name}, {' '.join(command)}"
        references = [_ask(empty, *command) for _ in range(ROUNDS)]
        report(f"{words}, one point", references, "ms", references, "itself")
        report(f"{words}, a million", [_ask(full, *command) for _ in range(ROUNDS)], "ms", references, "one point")
    references = [_open_page(empty) for _ in range(ROUNDS)]
    report(f"{name}, dashboard, one point", references, "ms", references, "itself")
    report(f"{name}, dashboard, a million", [_open_page(full) for _ in range(ROUNDS)], "ms", references, "one point")


def _fill(outbox: Outbox, points: int) -> None:
    # Nine of ten are registered, over as many minutes.
    now = utc_now()
    for start in range(0, points, CHUNK):
        chunk = range(start, min(start + CHUNK, points))
        outbox.add([_point(number, now - timedelta(minutes=number / 24)) for number in chunk])
        claimed = outbox.claim(len(chunk) * 9 // 10, lease=60)
        outbox.update([each.register(Registration(billable=True, classification="billable")) for each in claimed])
    outbox.add([_point(KEY, now)])


def _point(name: object, occurred_at: object) -> UsagePoint:
    host = f"https://app-{hash(name) % 5}.example"
    options = {"idempotency_key": str(name), "occurred_at": occurred_at}
    return UsagePoint(event="cloud-render", host=host, succeeded=True, **options)  # type: ignore[arg-type] # mixed values


def _ask(url: str, *command: str) -> float:
    environment = {**os.environ, "REMOTION_LICENSING_OUTBOX": url, "REMOTION_LICENSE_KEY": "rm_pub_bench"}
    program = [sys.executable, "-m", "remotion_licensing_integrations", *command]
    start = time.perf_counter()
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode > 1:  # 1 is an answer: something needs attention
        raise RuntimeError(done.stderr)
    return 1e3 * seconds


def _open_page(url: str) -> float:
    # A new one each time, which has nothing in memory yet.
    settings = Settings(license_key="rm_pub_bench", outbox=url, base_url="http://127.0.0.1:9", delivery="off")
    recorder = UsageRecorder(settings)
    page = TestClient(usage_dashboard(recorder, authorize=lambda _: True))
    start = time.perf_counter()
    page.get("/").raise_for_status()
    seconds = time.perf_counter() - start
    recorder.stop()
    return 1e3 * seconds

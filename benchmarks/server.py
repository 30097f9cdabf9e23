"""
What a counted request costs behind a real server: uvicorn on one core, wrk and the licensing API on the other.

Each variant is an app of `server_app` in its own process. One runs at a time, in shuffled order; its figures are
divided by those of the bare app in the same round. A second bare app shows how far two equal apps differ.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROUNDS: Final = 2
SECONDS: Final = 4  # of each load
CONNECTIONS: Final = 16
PORT: Final = 18_400
API_PORT: Final = 18_401
DRAIN: Final = 60.0  # seconds that delivery may take afterwards

#: What each variant is measured with: the app, and how the licensing API behaves.
VARIANTS: Final = {
    "bare": ("bare", "0"),
    "bare again": ("bare", "0"),
    "a middleware that does nothing": ("noop", "0"),
    "ours, delivery off": ("off", "0"),
    "ours": ("worker", "0"),
    "ours, API takes 50 ms": ("worker", "50"),
    "ours, API hangs": ("worker", "hang"),
    "ours, API is down": ("worker", "down"),
    "ours, 4 workers": ("worker", "0"),
    "OpenTelemetry": ("opentelemetry", "0"),
    "Sentry": ("sentry", "0"),
    "BackgroundTask + httpx": ("background", "0"),
}
_THINK: Final = (
    'wrk.method = "POST"\nwrk.headers["Origin"] = "https://myapp.com"\nfunction delay() return math.random(0, {}) end\n'
)
_FIGURES: Final = {
    "rate": re.compile(r"Requests/sec:\s+([\d.]+)(\w*)"),
    "p50": re.compile(r"^\s+50%\s+([\d.]+)(\w+) *$", re.MULTILINE),
    "p99": re.compile(r"^\s+99%\s+([\d.]+)(\w+) *$", re.MULTILINE),
    "responses": re.compile(r"(\d+)( )requests in"),
}
_MILLISECONDS: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def bench_server(folder: Path) -> None:
    """
    Throughput, latency and event-loop lag of every variant, and whether every counted response is a point.
    """
    if shutil.which("wrk") is None:
        print("  wrk is not installed; on Debian and Ubuntu: apt-get install wrk")
        return
    for name, delay in {"saturate": 0, "light": 200, "steady": 32}.items():
        (folder / f"{name}.lua").write_text(_THINK.format(delay))
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(ROUNDS):
        figures: dict[str, dict[str, float]] = {}
        for name in random.sample(list(VARIANTS), len(VARIANTS)):  # not cryptography
            figures[name] = _measure(name, folder / f"{number}-{len(figures)}")
            # The table takes a quarter of an hour.
            print(f"    round {number + 1}, {name}: {figures[name]['rate']:,.0f}/s", file=sys.stderr, flush=True)
        rounds.append(figures)
    _print(rounds)


def _print(rounds: list[dict[str, dict[str, float]]]) -> None:
    heads = "".join(f"{head:>9}" for head in ("p50", "p99", "light", "lag p99", "CPU", "points", "drained"))
    print(f"  {'':<32}{'throughput x bare':>24}{heads}")
    for name in VARIANTS:
        ratios = [each[name]["rate"] / each["bare"]["rate"] for each in rounds]
        median = {figure: statistics.median(each[name][figure] for each in rounds) for figure in rounds[0][name]}
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        points = f"{median['points']:.3f}" if median["points"] else "-"
        drained = f"{median['drained']:.1f} s" if median["drained"] else "-"
        print(
            f"  {name:<32}{spread:>24}{median['p50']:>6.2f} ms{median['p99']:>6.2f} ms{median['light p50']:>6.2f} ms"
            f"{median['lag']:>6.2f} ms{median['cpu']:>6.0f} us{points:>9}{drained:>9}",
            flush=True,
        )


def _measure(name: str, folder: Path) -> dict[str, float]:
    app, api = VARIANTS[name]
    folder.mkdir()
    workers = 4 if "workers" in name else 1
    delivers = app == "worker" and api in {"0", "50"}
    with _api(api), _server(app, folder, workers) as pid:
        _load(folder.parent / "saturate.lua", 1, CONNECTIONS)
        if delivers:
            _drain()
        light = _load(folder.parent / "light.lua", SECONDS, 10)
        _ask("/lag")
        _load(folder.parent / "steady.lua", SECONDS, CONNECTIONS)
        lag = _ask("/lag")["p99"]
        stored, cpu = _ask("/points")["stored"], _cpu_seconds(pid)
        saturated = _load(folder.parent / "saturate.lua", SECONDS, CONNECTIONS)
        cpu, stored = _cpu_seconds(pid) - cpu, _ask("/points")["stored"] - stored
        drained = _drain() if delivers else 0.0
    points = stored / saturated["responses"] if app in {"off", "worker"} else 0.0
    figures = {"light p50": light["p50"], "lag": lag, "points": points, "drained": drained}
    return {**saturated, **figures, "cpu": 1e6 * cpu / saturated["responses"]}


def _drain() -> float:
    start = time.monotonic()
    while _ask("/points")["pending"] and time.monotonic() - start < DRAIN:
        time.sleep(0.1)
    return time.monotonic() - start


def _cpu_seconds(pid: int) -> float:
    # proc_pid_stat(5): user and system time, of the process and of its children, which are uvicorn's workers.
    family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    ticks = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:13] for each in family]
    return sum(int(tick) for pair in ticks for tick in pair) / os.sysconf("SC_CLK_TCK")


def _load(script: Path, seconds: int, connections: int) -> dict[str, float]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    done = _run_on(0, [*command, f"http://127.0.0.1:{PORT}/convert"])
    figures = {name: pattern.search(done) for name, pattern in _FIGURES.items()}
    if None in figures.values() or "Non-2xx" in done:
        raise RuntimeError(done)
    return {name: float(match[1]) * _MILLISECONDS.get(match[2], 1.0) for name, match in figures.items() if match}


def _run_on(cpu: int, command: list[str]) -> str:
    return subprocess.run(_pinned(cpu, command), check=True, capture_output=True, text=True).stdout


def _pinned(cpu: int, command: list[str]) -> list[str]:
    return command if shutil.which("taskset") is None else ["taskset", "-c", str(cpu % (os.cpu_count() or 1)), *command]


def _ask(path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=30) as answer:
        return json.load(answer)


@contextmanager
def _server(app: str, folder: Path, workers: int) -> Generator[int]:
    """
    Run the app, and yield the server's process id.
    """
    command = [sys.executable, "-m", "uvicorn", "benchmarks.server_app:make", "--factory", "--port", str(PORT)]
    command += ["--workers", str(workers), "--no-access-log", "--log-level", "critical"]
    environment = {**os.environ, "BENCH_APP": app, "BENCH_FOLDER": str(folder), "BENCH_API": str(API_PORT)}
    with _running(_pinned(1, command), environment) as pid:
        for _ in range(200):
            try:
                _ask("/points")
                break
            except OSError:
                time.sleep(0.05)
        yield pid


@contextmanager
def _api(behaviour: str) -> Generator[None]:
    if behaviour == "down":
        yield
        return
    command = [sys.executable, "-m", "benchmarks.server_api", str(API_PORT), behaviour]
    with _running(_pinned(0, command), dict(os.environ)):
        yield


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Generator[int]:
    process = subprocess.Popen(command, env=environment)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

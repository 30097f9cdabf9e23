"""
What delivering takes.

Each variant is a process of its own on one core, the licensing API another one on the other. One runs at a time, in
shuffled order, over the same points. A second bare client shows how far two equal variants differ.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from .common import spread
from .processes import MEASURED, Worker, licensing_api, pinned, working

ROUNDS: Final = 5
#: By the milliseconds that the API takes and the connections: how many points are a round, some one or two seconds.
CELLS: Final = {
    (0, 1): 2000,
    (0, 8): 3000,
    (0, 32): 3000,
    (20, 8): 400,
    (20, 32): 1600,
    (100, 8): 160,
    (100, 32): 640,
}
WARM_UP: Final = 1000  # points
CLIENT: Final = "the HTTP client alone"
OURS: Final = "ours"
NPM: Final = "@remotion/licensing"
NPM_VERSION: Final = "4.0.529"

#: What a round has measured: seconds of wall time and of CPU time of the whole process, and points.
Rounds = list[dict[str, float]]


def bench_delivery(folder: Path) -> None:
    """
    Delivery with claim and update, beside the HTTP client alone, what the connections can carry, and the npm package.
    """
    commands = {name: _python(kind, folder) for name, kind in _VARIANTS.items()}
    if (package := npm_package()) is not None:
        commands[NPM] = ["node", str(Path(__file__).with_name("delivery.mjs")), str(package)]
    with ExitStack() as stack:
        urls = {delay: stack.enter_context(licensing_api(delay)) for delay in sorted({delay for delay, _ in CELLS})}
        workers = {name: stack.enter_context(working(pinned(MEASURED, line))) for name, line in commands.items()}
        for worker in workers.values():
            worker.ask(urls[0], 8, WARM_UP)
        print(
            f"  {'latency x connections':<40}{'points a second':>26}{'x client':>10}{'x limit':>10}{'CPU a point':>26}"
        )
        for (delay, connections), points in CELLS.items():
            samples = take_turns(workers, urls[delay], connections, points)
            _print(delay, connections, samples)


_VARIANTS: Final = {CLIENT: "client", "the same again": "client", OURS: "ours"}


def _python(kind: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", f"{__package__}.delivery_worker", kind, str(folder / "delivery.sqlite3")]


def take_turns(workers: dict[str, Worker], url: str, connections: int, points: int) -> dict[str, Rounds]:
    """
    Return what each worker measures, one at a time and in another order each round.
    """
    samples: dict[str, Rounds] = {name: [] for name in workers}
    for _ in range(ROUNDS):
        for name in random.sample(list(workers), len(workers)):  # not cryptography
            # First some that do not count: what waits gets cold, and has no connection yet.
            workers[name].ask(url, connections, 4 * connections)
            answer = workers[name].ask(url, connections, points)
            if answer["points"] != points:
                msg = f"{name} has delivered {answer['points']:,} of {points:,} points"
                raise RuntimeError(msg)
            samples[name].append(answer)
    return samples


def _print(delay: int, connections: int, samples: dict[str, Rounds]) -> None:
    rates = {name: [each["points"] / each["seconds"] for each in rounds] for name, rounds in samples.items()}
    limit = connections / delay * 1000 if delay else None
    for name, rounds in samples.items():
        median = statistics.median(rates[name])
        cpu = [each["cpu"] / each["points"] * 1e6 for each in rounds]
        of_limit = f"{median / limit:.3f}" if limit else "-"
        print(
            f"  {f'{delay} ms x {connections}: {name}':<40}"
            f"{f'{median:,.0f} {spread(rates[name], 0)}':>26}"
            f"{median / statistics.median(rates[CLIENT]):>10.2f}{of_limit:>10}"
            f"{f'{statistics.median(cpu):,.0f} us {spread(cpu, 0)}':>26}",
            flush=True,
        )


def npm_package() -> Path | None:
    """
    Return the module of Remotion's own package, installed beside this folder; `None`, and a line, where that fails.
    """
    place = Path(__file__).parent.parent / ".bench-npm"
    package = place / "node_modules" / NPM
    try:
        if shutil.which("node") is None or shutil.which("npm") is None:
            print(f"  {NPM} is left out: Node.js and npm are not installed")
            return None
        if not (package / "package.json").exists() or _version(package) != NPM_VERSION:
            command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(place)]
            place.mkdir(exist_ok=True)
            subprocess.run([*command, f"{NPM}@{NPM_VERSION}"], check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"  {NPM} is left out: it could not be installed ({error})")
        return None
    return package / "dist" / "esm" / "index.mjs"


def _version(package: Path) -> str:
    return str(json.loads((package / "package.json").read_text())["version"])

"""
Load on real servers for minutes or hours; at the end every acknowledged usage point must be registered, once.

Meanwhile workers and deliverers are killed, the outbox breaks down, the licensing API fails and the clock jumps.

The exit status is 1 when a point was lost or counted twice, or a request failed; with --negative-control, which
switches the protection off, when no point was lost.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from . import stores
from .account import find_missing, read_registered
from .conductor import Conductor
from .load import Load, read_keys
from .plan import make_plan
from .report import report
from .site import REPOSITORY, Site, free_port, wait_for_port
from .stores import Store

LOOK: Final = 0.25  # seconds between looks
SAY: Final = 10.0  # seconds between lines
STALLED: Final = 200.0  # seconds without a registration, after which what is left is not waited for
SETTLED: Final = 15.0  # the same where nobody can be asked whether there is more


class Api:
    """
    The licensing API at *port*.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._connection = HTTPConnection("127.0.0.1", port)

    def ask(self, what: str) -> Counter[str]:
        """
        Return how often what happened, after it has done *what*: `counts`, `save`, or `well`, to fail no longer.
        """
        self._connection.request("POST", f"/soak/{what}")
        with self._connection.getresponse() as response:
            return Counter(json.load(response))


@contextmanager
def licensing_api(seed: int, keys: Path) -> Iterator[Api]:
    """
    Have the API, which saves its keys to *keys*.
    """
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "soak.api", str(port), str(seed), str(keys)]) as process:
        try:
            wait_for_port(port)
            yield Api(port)
        finally:
            process.kill()


def main() -> int:
    """
    Run one soak.
    """
    options = _options()
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix=".soak-", dir=REPOSITORY))  # /tmp may be memory
    status = 2
    try:
        status = _soak(options, folder)
    finally:
        if status or options.keep:
            print(f"The logs are in {folder}")
        else:
            shutil.rmtree(folder)
    return status


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--points", type=int, metavar="N", help="until so many are acknowledged")
    length.add_argument("--minutes", type=float, metavar="M", help="for so long, and then until all are registered")
    parser.add_argument("--outbox", choices=stores.STORES, default="sqlite", help="default: %(default)s")
    parser.add_argument("--kills", type=int, metavar="N", help="default: 1 for 1,000 points, 50 a minute")
    parser.add_argument("--crashes", type=int, metavar="N", help="of the outbox (default: 1 for 50 kills)")
    parser.add_argument("--jumps", type=int, metavar="N", help="of the clock (default: as many as crashes)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="S")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="of the web server (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, metavar="N", help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=25, metavar="N", help="points in a request (default: %(default)s)")
    parser.add_argument("--negative-control", action="store_true", help="without protection: points must be lost")
    parser.add_argument("--keep", action="store_true", help="keep the logs and the keys, as after a failure")
    options = parser.parse_args()
    if options.kills is None:
        options.kills = options.points // 1_000 if options.points else round(50 * options.minutes)
    if options.crashes is None:
        options.crashes = 1 + options.kills // 50
    if options.jumps is None:
        options.jumps = options.crashes
    return options


def _soak(options: argparse.Namespace, folder: Path) -> int:
    plan = make_plan(options.seed, kills=options.kills, crashes=options.crashes, jumps=options.jumps)
    make_store, changes = stores.STORES[options.outbox], {}
    if options.negative_control:
        changes = {"REMOTION_LICENSING_SPILL": "off"}
        make_store = stores.memory if options.outbox == "sqlite" else make_store
    began = time.monotonic()
    with (
        make_store(folder) as store,
        licensing_api(options.seed, folder / "registered") as api,
        Site(folder, store, api_url=api.url, workers=options.workers, changes=changes) as site,
    ):
        conductor = Conductor(plan, site, store)
        with Load(site.port, folder / "acknowledged", clients=options.clients, batch=options.batch) as load:
            _run(options, load, api, site, conductor)
        loaded = time.monotonic() - began
        _drain(api, site, store)
        if store.asks:
            conductor.done["held points retried"] = site.retry()
            _drain(api, site, store)
        counts = api.ask("save")
        acknowledged, registered = read_keys(folder / "acknowledged"), read_registered(folder / "registered")
        places = find_missing(acknowledged - registered, site, asks=store.asks)
        places["registered"] = len(acknowledged & registered)
        places["unacknowledged"] = len(registered - acknowledged)
        report(
            load,
            conductor.done,
            counts,
            places,
            deliverers_ended=site.ended,
            log=site.logs(),
            seconds=(loaded, time.monotonic() - began),
        )
    if options.negative_control:
        return int(not places["lost"])
    failed = sum(times for what, times in load.seen.items() if what not in {"answered", "broken off"})
    # The outcome of an acknowledged point that is still deferred is lost, too.
    return int(bool(places["lost"] or places["deferred"] or counts["twice"] or failed))


def _run(options: argparse.Namespace, load: Load, api: Api, site: Site, conductor: Conductor) -> None:
    began = said = time.monotonic()
    progress = 0.0
    try:
        while progress < 1:
            time.sleep(LOOK)
            seconds = time.monotonic() - began
            progress = load.acknowledged / options.points if options.points else seconds / (60 * options.minutes)
            load.registered = api.ask("counts")["registered"]
            site.tend()
            conductor.advance(progress)
            if time.monotonic() - said > SAY:
                said = time.monotonic()
                print(
                    f"{seconds:6.0f} s  {load.acknowledged:,} acknowledged, {load.registered:,} registered, "
                    f"{conductor.done.total()} events",
                    flush=True,
                )
    finally:
        conductor.finish()


def _drain(api: Api, site: Site, store: Store) -> None:
    registered = api.ask("well")["registered"]
    changed = time.monotonic()
    patience = STALLED if store.asks else SETTLED
    while time.monotonic() - changed < patience:
        time.sleep(1)
        site.tend()
        before, registered = registered, api.ask("counts")["registered"]
        if registered != before:
            changed = time.monotonic()
        elif store.asks:
            status = site.status()
            if not status["pending"] + status["spilled"]:
                return


if __name__ == "__main__":
    sys.exit(main())

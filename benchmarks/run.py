"""
Timings, each beside a reference taken in the same run: ratios travel between machines, absolute figures do not.

A figure is the median of several rounds; in brackets behind it are the quartiles, between which half of the rounds are.
Each section measures something twice as if it were two variants ("again"): less than they differ is noise.

Run it with `scripts/bench [SECTION …]`; it needs a quiet machine and some minutes. `scripts/bench --before COMMIT` says
whether the package has become slower since that commit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from .asgi import bench_counted_route, bench_other_routes
from .backlog import bench_backlog
from .before import bench_before
from .common import MAX_BUSY, share_of_others
from .delivery import bench_delivery
from .django import bench_django
from .extras import bench_extras
from .imports import bench_imports
from .questions import bench_questions
from .server import bench_server
from .store import bench_store

#: What runs in an empty folder, and prints.
Section = Callable[[Path], None]
SECTIONS: dict[str, Section] = {
    "other": bench_other_routes,
    "counted": bench_counted_route,
    "django": bench_django,
    "store": bench_store,
    "delivery": bench_delivery,
    "backlog": bench_backlog,
    "questions": bench_questions,
    "imports": bench_imports,
    "extras": bench_extras,
    "server": bench_server,
}


def main() -> int:
    """
    Run the chosen sections.
    """
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--before", metavar="COMMIT", help="the package beside an older one")
    options = parser.parse_args()
    chosen: dict[str, Section] = {name: SECTIONS[name] for name in options.sections}
    if options.before is not None:
        chosen[f"beside {options.before}"] = partial(bench_before, revision=options.before)
    if (busy := share_of_others()) > MAX_BUSY:
        print(f"Other programs use {busy:.0%} of the machine: no ratio would mean anything. Try again when it is idle.")
        return 1
    for name, bench in (chosen or SECTIONS).items():
        print(name)
        # Beside the repository, not in /tmp, which may be memory: a commit must reach a disk.
        with TemporaryDirectory(dir=Path(__file__).parent.parent, prefix=".bench-") as folder:
            bench(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())

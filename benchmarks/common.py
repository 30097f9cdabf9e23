"""
What all sections share.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from remotion_licensing_integrations import UsagePoint


def point() -> UsagePoint:
    """
    A new usage point.
    """
    return UsagePoint(event="cloud-render", host="https://myapp.com", succeeded=True)


#: Of the machine; more than that in the hands of other programs disturbs every figure.
MAX_BUSY = 0.08


def share_of_others(seconds: float = 2.0) -> float:
    """
    Return the share of the machine's CPU time that is in use while this process sleeps; 0 where the system cannot tell.
    """
    try:
        before = _cpu_times()
        time.sleep(seconds)
        used, total = (new - old for new, old in zip(_cpu_times(), before, strict=True))
    except OSError:
        return 0.0
    return used / total


def _cpu_times() -> tuple[int, int]:
    # proc_stat(5): the fourth and fifth figure are idle time.
    figures = [int(figure) for figure in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(figures) - figures[3] - figures[4], sum(figures)


def report(name: str, value: float, unit: str, reference: float | None = None, of: str = "") -> None:
    """
    Print one figure and its ratio to the reference.
    """
    ratio = "" if reference is None else f"   {value / reference:5.2f} x {of} ({reference:,.1f})"
    print(f"  {name:<44}{value:>12,.1f} {unit:<9}{ratio}", flush=True)


def rate(times: int, work: Callable[[], object]) -> float:
    """
    Return how often *work* is done in a second.
    """
    start = time.perf_counter()
    for _ in range(times):
        work()
    return times / (time.perf_counter() - start)

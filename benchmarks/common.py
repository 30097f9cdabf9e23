"""
What all sections share.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
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


def report(name: str, values: Sequence[float], unit: str, references: Sequence[float] = (), of: str = "") -> None:
    """
    Print the median of what the rounds measured, its spread, and its ratio to the median of the reference.
    """
    median = statistics.median(values)
    ratio = ""
    if references:
        reference = statistics.median(references)
        ratio = f"   {median / reference:6.2f} x {of} ({reference:,.1f})"
    print(f"  {name:<64}{median:>10,.1f} {unit:<3}{spread(values):>24}{ratio}".rstrip(), flush=True)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """
    Return between which values the inner half of the rounds is; nothing for a single round.
    """
    if len(values) == 1:
        return ""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"({low:,.{digits}f} to {high:,.{digits}f})"


def differences(values: Sequence[float], references: Sequence[float]) -> list[float]:
    """
    Return by how much each value is larger than the reference of the same round.
    """
    return [value - reference for value, reference in zip(values, references, strict=True)]


def rate(times: int, work: Callable[[], object]) -> float:
    """
    Return how often *work* is done in a second.
    """
    start = time.perf_counter()
    for _ in range(times):
        work()
    return times / (time.perf_counter() - start)

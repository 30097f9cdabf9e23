"""
What all sections share.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from remotion_licensing_integrations import UsagePoint


def point() -> UsagePoint:
    """
    A new usage point.
    """
    return UsagePoint(event="cloud-render", host="https://myapp.com", succeeded=True)


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

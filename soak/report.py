"""
What was done, and what was found.
"""

from __future__ import annotations

import re
from collections import Counter

from .load import Load

#: How gunicorn tells that a worker has died of a signal; of SIGKILL they die by our hand.
_DIED = re.compile(r"was sent (SIG(?!KILL|TERM)\w+)")
#: What the package says of points that it has moved.
_MOVED = re.compile(r"accepts usage points again; (\d+) were moved")
#: What it says of an API that seems to be down.
_PAUSED = "Delivery of usage points is paused"
#: What it says when it has lost its way.
_CRASHED = re.compile(r"(?:Delivery failed|could not be sent|could not be recorded)")


def report(
    load: Load,
    done: Counter[str],
    counts: Counter[str],
    places: Counter[str],
    *,
    deliverers_ended: int,
    log: str,
    seconds: tuple[float, float],
) -> None:
    """
    Print both.
    """
    loaded, total = seconds
    print("\nWhat was done")
    _line("seconds of load", round(loaded))
    _line("seconds until all was registered", round(total - loaded))
    for what, times in sorted(load.seen.items()):
        _line(f"requests {what}", times)
    print(f"  {'slowest answer, in seconds':<48}{load.slowest:>12,.2f}")
    for what, times in sorted(done.items()):
        _line(what, times)
    _line("points moved from the spill, at least", sum(map(int, _MOVED.findall(log))))
    _line("requests to the API", counts["requests"])
    for failure in ("500", "reset", "hang"):
        _line(f"  of them failed: {failure}", counts[failure])
    _line("pauses of delivery", log.count(_PAUSED))
    _line("points sent again after they were counted", counts["repeats"])
    print("\nWhat was found")
    _line("points acknowledged", load.acknowledged)
    for place in ("registered", "pending", "rejected", "held", "deferred", "spilled", "only in the log", "lost"):
        _line(f"  {place}", places[place])
    _line("points counted twice", counts["twice"])
    _line("points registered without an acknowledgement", places["unacknowledged"])
    for name, times in sorted(Counter(_DIED.findall(log)).items()):
        _line(f"workers that died of {name}", times)
    _line("deliverers that ended by themselves", deliverers_ended)
    _line("crashes in the log", len(_CRASHED.findall(log)))


def _line(what: str, number: int) -> None:
    print(f"  {what:<48}{number:>12,}", flush=True)

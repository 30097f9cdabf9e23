"""
What happens when: the same seed has the same events in the same order.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

#: Of the kills, those of the deliverer; the others are of web workers.
DELIVERERS: Final = 0.25
#: Errors of the clock in seconds. None is shorter than the outbox's longest delay: it would only put delivery off.
ERRORS: Final = (0, 10_800, -10_800, 90_000, -90_000)
OUTAGE: Final = (0.5, 4.0)  # seconds


@dataclass(frozen=True, order=True)
class Event:
    """
    Something that happens.

    Attributes:
        at: When, as a part of the whole soak.
        what: `"worker"` or `"deliverer"` is killed, `"outage"`, or `"clock"`.
        value: Which worker, as a part of all; the seconds of an outage; the error of the clock.
    """

    at: float
    what: str
    value: float


def make_plan(seed: int, *, kills: int, crashes: int, jumps: int) -> list[Event]:
    """
    Return events in their order.
    """
    chance = random.Random(seed)
    events = [
        Event(_moment(chance), "deliverer" if chance.random() < DELIVERERS else "worker", chance.random())
        for _ in range(kills)
    ]
    events += [Event(_moment(chance), "outage", chance.uniform(*OUTAGE)) for _ in range(crashes)]
    events += [Event(_moment(chance), "clock", chance.choice(ERRORS)) for _ in range(jumps)]
    return sorted(events)


def _moment(chance: random.Random) -> float:
    return chance.uniform(0.02, 0.98)

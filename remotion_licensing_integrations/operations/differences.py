"""
Explains how the numbers of an outbox and of the licensing API differ: in come counts, out come reasons. No I/O.

Each difference of an event and classification first loses what is known exactly, then as much as the points that may be
the reason can account for. What is left is not explained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..api import CLASSIFICATIONS, COUNTED_AS

#: An event as the API counts it, and a classification.
Cell = tuple[str, str]
CELLS: Final[Sequence[Cell]] = [
    (event, word) for event in dict.fromkeys(COUNTED_AS.values()) for word in CLASSIFICATIONS
]

#: The reasons, in words.
TEXTS: Final = {
    "before": "counted before the first point in this outbox ({first})",
    "held": "held here: sent, but no answer came, so the API may have counted them (`list --state held`)",
    "unanswered": "pending here, and sent without an answer yet: the API may have counted them",
    "unclassified": "registered here without a classification, as the API's answer had none",
    "sent_again": "sent again without an idempotency key after no answer came: the API may have counted them twice",
    "skew": "registered here within a minute before the window begins: clocks may differ",
    "edge": "registered here just after the window begins: the API may have counted them just before",
    "during": "registered while this command ran, between its questions to the API and to the outbox",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """
    What is known of both sides, as numbers of points.

    Attributes:
        here: Registered in the outbox within the window.
        api: Counted by the API within the window.
        exact: Reasons whose share of each cell is known, signed as the difference.
        more: Why the API may have counted more: how many points of an event at most.
        fewer: Why it may have counted fewer: how many points of a cell at most.
    """

    here: Mapping[Cell, int]
    api: Mapping[Cell, int]
    exact: Mapping[str, Mapping[Cell, int]]
    more: Mapping[str, Mapping[str, int]]
    fewer: Mapping[str, Mapping[Cell, int]]


@dataclass(frozen=True, slots=True)
class Reason:
    """
    A reason, with the share of the difference that it accounts for, signed as the difference.
    """

    name: str
    event: str
    classification: str
    number: int


@dataclass(frozen=True, slots=True)
class Differences:
    """
    The differences by cell, signed: positive where the API has counted more.

    Attributes:
        total: API minus outbox.
        reasons: What accounts for them.
        unexplained: What is left; only cells where something is left.
    """

    total: Mapping[Cell, int]
    reasons: Sequence[Reason]
    unexplained: Mapping[Cell, int]


def explain(facts: Facts) -> Differences:
    """
    Account for the differences as far as the facts allow.
    """
    total: dict[Cell, int] = {cell: facts.api.get(cell, 0) - facts.here.get(cell, 0) for cell in CELLS}
    left = Counter(total)
    reasons: list[Reason] = []

    def account(name: str, cell: Cell, number: int) -> None:
        if number:
            left[cell] -= number
            reasons.append(Reason(name, *cell, number))

    for name, numbers in facts.exact.items():
        for cell in CELLS:
            account(name, cell, numbers.get(cell, 0))
    for name, by_event in facts.more.items():
        pool = Counter(by_event)
        for cell in CELLS:
            number = max(0, min(left[cell], pool[cell[0]]))
            pool[cell[0]] -= number
            account(name, cell, number)
    for name, by_cell in facts.fewer.items():
        for cell in CELLS:
            account(name, cell, -max(0, min(-left[cell], by_cell.get(cell, 0))))
    return Differences(total, reasons, {cell: left[cell] for cell in CELLS if left[cell]})

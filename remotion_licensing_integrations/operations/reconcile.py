"""
The command that compares the outbox with the licensing API, and explains the difference: `reconcile`.
"""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from typing import Final

from ..api import CLASSIFICATIONS, COUNTED_AS
from ..outbox import State, beginning
from ..points import utc_now
from ..recording import UsageRecorder
from .arguments import moment
from .command import argument, command
from .comparison import Comparison
from .differences import CELLS
from .inspect import write_points
from .output import answer, at, plural, write, write_json, write_table
from .repair import describe_left, pick

_MORE: Final = (
    "The API has counted more: another sender uses a key of the same project (another outbox, `remotion-licensing "
    "register`, Remotion's own renderers; `doctor` looks for these)."
)
_FEWER: Final = (
    "The API has counted fewer: it accepted points that it does not count now, or the private key belongs to another "
    "project than the licence key. `list --state registered` shows the points with their idempotency keys."
)
_OTHERWISE: Final = "The API has classified points otherwise than it answered when they were registered."


@command(
    "reconcile",
    "compare this outbox with the licensing API, and resolve held points",
    argument(
        "--since", type=moment, metavar="DATE", help="first day, in UTC, at most 89 days ago (default: the month's)"
    ),
    argument("--counted", nargs="+", metavar="KEY", help="these held points are registered: the API has counted them"),
    needs_outbox=True,
)
def reconcile(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Show both sides' counts and why they differ, status 1 when that cannot be explained; or resolve held points.
    """
    if arguments.counted:
        return _confirm(arguments, recorder)
    first = arguments.since or utc_now().replace(day=1)
    comparison = Comparison(recorder, beginning(first.date()))
    if arguments.json:
        write_json(comparison.to_json())
    else:
        _write(comparison)
    return 1 if comparison.differences.unexplained else 0


def _confirm(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    held, left = pick(recorder.outbox, arguments.counted, State.HELD)
    count = recorder.outbox.confirm([point.idempotency_key for point in held])
    answer(
        arguments,
        {"registered": count, "left": left},
        *describe_left(left),
        f"{plural(count, 'usage point')} registered.",
    )
    return 1 if left else 0


def _write(made: Comparison) -> None:
    found = made.differences
    write(f"Registered here, and counted by the licensing API, since {at(made.since)}:")
    rows: list[tuple[object, ...]] = [
        (event, word, made.here[event, word], made.api[event, word], _signed(found.total[event, word]))
        for event, word in CELLS
        if made.here[event, word] or made.api[event, word]
    ]
    billable = [sum(side[event, "billable"] for event in set(COUNTED_AS.values())) for side in (made.here, made.api)]
    rows.append(("all", "billable", *billable, _signed(billable[1] - billable[0])))
    write_table(("EVENT", "CLASSIFICATION", "HERE", "API", "DIFFERENCE"), rows)
    _write_waiting(made)
    _write_reasons(made)
    _write_unexplained(made)


def _write_waiting(made: Comparison) -> None:
    waiting = ", ".join(f"{number:,} {state}" for state, number in made.waiting.items() if number)
    write(f"Not registered: {waiting or 'nothing'}.")
    if made.older:
        write(f"{plural(made.older, 'point')} occurred before and registered within: the API counts by the latter.")
    if made.of_other_keys:
        write(f"{plural(made.of_other_keys, 'point')} registered here for other licence keys: not compared.")
    if made.held:
        write(f"Held: {plural(len(made.held), 'usage point')} that the licensing API may or may not have counted.")
        write_points(made.held)
        write("`retry KEY` sends a point again with its key; `reconcile --counted KEY` says that it was counted.")


def _write_reasons(made: Comparison) -> None:
    if not any(made.differences.total.values()):
        write("The numbers agree.")
    for reason in made.differences.reasons:
        write(f"{_signed(reason.number)} {_name(reason.event, reason.classification)}: {made.text(reason.name)}.")


def _write_unexplained(made: Comparison) -> None:
    unexplained = made.differences.unexplained
    for cell, number in unexplained.items():
        days = ", ".join(_days(first, end, numbers[cell]) for first, end, numbers in made.days if cell in numbers)
        write(f"Not explained: {_signed(number)} {_name(*cell)}; registered {days or 'on days that even out'}.")
    events = {event: sum(unexplained.get((event, word), 0) for word in CLASSIFICATIONS) for event, _ in unexplained}
    if any(number > 0 for number in events.values()):
        write(_MORE)
    if any(number < 0 for number in events.values()):
        write(_FEWER)
    if any(number == 0 for number in events.values()):
        write(_OTHERWISE)


def _signed(number: int) -> str:
    return f"{number:+,}" if number else "0"


def _name(event: str, word: str) -> str:
    return f"{word} {event}"


def _days(first: datetime, end: datetime, number: int) -> str:
    last = (end - timedelta(microseconds=1)).date()
    days = f"on {last}" if first.date() == last else f"from {first.date()} to {last}"
    return f"{days} ({_signed(number)})"

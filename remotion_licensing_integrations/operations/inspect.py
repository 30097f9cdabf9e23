"""
The commands that show the outbox: `status` and `list`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Final

from ..outbox import Counts, Pause, State, StoredPoint
from ..recording import UsageRecorder
from .command import argument, command, describe_pause, describe_point, plural, write

#: The longest time that deferred work is expected to take.
OVERDUE: Final = timedelta(days=1)
_MAX_OVERDUE: Final = 20  # points
_MAX_LISTED: Final = 1_000_000  # points


@command(
    "status",
    "show how many usage points are in each state, and what needs attention",
    argument("--json", action="store_true", help="print JSON"),
    needs_outbox=True,
)
def status(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print counts, paused deliverers and overdue points; status 1 when a person must act.
    """
    outbox, spilled = recorder.outbox, recorder.count_spilled()
    counts, pauses = outbox.counts(), outbox.pauses()
    overdue = outbox.list(State.DEFERRED, before=datetime.now(UTC) - OVERDUE, limit=_MAX_OVERDUE)
    if arguments.json:
        keys = [stored.point.idempotency_key for stored in overdue]
        facts = {**asdict(counts), "spilled": spilled, "overdue": keys, "pauses": [asdict(pause) for pause in pauses]}
        write(json.dumps(facts, default=datetime.isoformat))
    else:
        write(f"Outbox    {outbox!r}")
        write(f"Delivery  {recorder.settings.delivery} to {recorder.settings.base_url}")
        _write_status(counts, pauses, overdue)
        if spilled:
            write(
                f"Spilled: {plural(spilled, 'point')} in {recorder.spill!r}, to be moved when the outbox accepts them"
            )
    return 1 if counts.rejected or counts.held or spilled or pauses or overdue else 0


def _write_status(counts: Counts, pauses: Sequence[Pause], overdue: Sequence[StoredPoint]) -> None:
    for state in State:
        write(f"  {state:<11}{getattr(counts, state):>9,}")
    if counts.oldest_pending is not None:
        age = timedelta(seconds=int((datetime.now(UTC) - counts.oldest_pending).total_seconds()))
        write(f"Oldest pending point: {age} old")
    for pause in pauses:
        write(f"Paused: {describe_pause(pause)}")
    if counts.rejected or counts.held:
        write("See `list --state rejected`, `list --state held`; `retry` makes them due again.")
    if overdue:
        write("Deferred for more than a day; has their work ended? `complete KEY` ends them:")
    for stored in overdue:
        write(describe_point(stored))


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_LISTED:
        return int(text)
    msg = f"expected a whole number from 1 to {_MAX_LISTED}, got {text!r}"
    raise argparse.ArgumentTypeError(msg)


@command(
    "list",
    "show the latest usage points",
    argument("--state", choices=[state.value for state in State], help="only these"),
    argument("--limit", type=_limit, default=20, metavar="N", help="at most N (default: %(default)s)"),
    argument("--json", action="store_true", help="print one JSON object a line"),
    needs_outbox=True,
)
def list_points(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print the latest points, a line each.
    """
    state = State(arguments.state) if arguments.state else None
    for stored in recorder.outbox.list(state, limit=arguments.limit):
        write(json.dumps(stored.to_json()) if arguments.json else describe_point(stored))
    return 0

"""
The commands that show the outbox: `status`, `list` and `show`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from ..errors import ConfigurationError
from ..outbox import EXPECTED_FOR, Pause, State, StoredPoint
from ..points import EVENTS, utc_now
from ..recording import UsageRecorder
from .arguments import duration, moment, origin, printable
from .columns import Column
from .command import argument, command
from .output import at, plural, progress, to_json, to_text, write, write_json, write_table

_MAX_OVERDUE: Final = 20  # points
_MAX_LISTED: Final = 1_000_000  # points
_PAGE: Final = 1_000  # points that are read and printed at a time

_COLUMNS: Final = (
    *(Column("OCCURRED"), Column("STATE"), Column("KEY"), Column("EVENT", 2), Column("HOST", 3, is_cut=True)),
    *(Column("OUTCOME", 4), Column("ATTEMPTS", 5), Column("RESULT", 1, is_cut=True)),
)
_OUTCOMES: Final = {True: "succeeded", False: "failed", None: None}
_REMEDIES: Final = {
    State.REJECTED: "See `list --state rejected`; `retry` makes them due again.",
    State.HELD: "See `list --state held`; `reconcile` says what to do.",
}


@command(
    "status",
    "show how many usage points are in each state, and what needs attention",
    argument("--max-age", type=duration, metavar="AGE", help="end with 1 when a pending point is older, such as 2h"),
    needs_outbox=True,
)
def status(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print counts, paused deliverers and overdue points; status 1 when a person must act.
    """
    outbox, spilled, now = recorder.outbox, recorder.count_spilled(), utc_now()
    foreign = count_foreign(recorder)
    counts, pauses = outbox.counts(), outbox.pauses()
    overdue = outbox.list(State.DEFERRED, before=now - EXPECTED_FOR, limit=_MAX_OVERDUE)
    age = None if counts.oldest_pending is None else now - counts.oldest_pending
    is_late = age is not None and arguments.max_age is not None and age > arguments.max_age
    needs = {
        "paused": pauses,
        "rejected": counts.rejected,
        "held": counts.held,
        "overdue": overdue,
        "late": is_late,
        "spilled": spilled,
    }
    attention = [name for name, need in needs.items() if need]
    if arguments.json:
        keys = [stored.point.idempotency_key for stored in overdue]
        facts = {"spilled": spilled, "overdue": keys, "pauses": [*map(asdict, pauses)], "attention": attention}
        write_json({**asdict(counts), **facts, "other_keys": foreign})
        return 1 if attention else 0
    write(f"Outbox    {outbox!r}")
    write(f"Delivery  {recorder.settings.delivery} to {recorder.settings.base_url}")
    write("")
    write_table(("STATE", "POINTS"), [(state.value, getattr(counts, state)) for state in State])
    if age is not None:
        limit = f", which is more than {arguments.max_age}" if is_late else ""
        write(f"Oldest pending point: {timedelta(seconds=int(age.total_seconds()))} old{limit}")
    for fingerprint, number in foreign.items():
        write(describe_foreign(fingerprint, number))
    for pause in pauses:
        write(f"Paused: {describe_pause(pause)}")
    for state, remedy in _REMEDIES.items():
        if state.value in attention:
            write(f"{state.value.capitalize()}: {plural(getattr(counts, state), 'point')}. {remedy}")
    if overdue:
        write("Deferred for more than a day; has their work ended? `complete KEY` ends them:")
        write_points(overdue)
    if spilled:
        write(f"Spilled: {plural(spilled, 'point')} in {recorder.spill!r}, to be moved when the outbox accepts them")
    return 1 if attention else 0


def count_foreign(recorder: UsageRecorder) -> Mapping[str, int]:
    """
    Count the pending points for each licence key that *recorder* does not have, by the key's fingerprint.

    Without any key, for instance in another shell than the app's, this cannot be told.
    """
    own = {None, *recorder.keys.fingerprints}
    totals = recorder.outbox.totals("key_fingerprint", "state", waiting=True) if recorder.enabled else ()
    return {
        total.key_fingerprint: total.number
        for total in totals
        if total.state == State.PENDING and total.key_fingerprint and total.key_fingerprint not in own
    }


def describe_foreign(fingerprint: str, number: int) -> str:
    """
    Say what becomes of points for a licence key that is not set here.
    """
    return (
        f"{plural(number, 'pending point')} for another licence key ({fingerprint}), which only an app with that key "
        f"sends. Is it your former key? `retry --adopt {fingerprint}` makes them due for today's."
    )


def describe_pause(pause: Pause) -> str:
    """
    Say which deliverer is paused, since when and why.
    """
    return (
        f"{pause.deliverer} has been paused since {at(pause.since)} "
        f"and tries again at {pause.until:%H:%M:%S}Z: {pause.reason}"
    )


def write_points(points: Iterable[StoredPoint], *, heads: bool = True) -> None:
    """
    Print points as a table.
    """
    write_table(_COLUMNS, [*map(_cells, points)], heads=heads)


def _cells(stored: StoredPoint) -> Sequence[object]:
    point, answered = stored.point, stored.registration
    result = answered.classification if answered else stored.last_error
    outcome = _OUTCOMES[point.succeeded]
    return (
        *(point.occurred_at, stored.state.value, point.idempotency_key, point.event, point.host),
        *(outcome, stored.attempts, result),
    )


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_LISTED:
        return int(text)
    msg = f"expected a whole number from 1 to {_MAX_LISTED}, got {text!r}"
    raise argparse.ArgumentTypeError(msg)


@command(
    "list",
    "show the latest usage points",
    argument("--state", type=State, choices=[*State], metavar="STATE", help=f"in this state: {', '.join(State)}"),
    argument("--event", choices=EVENTS, metavar="EVENT", help=f"of this event: {', '.join(EVENTS)}"),
    argument("--host", type=origin, metavar="ORIGIN", help="of this frontend"),
    argument("--classification", type=printable, help="as the API classified them: billable, development, failed"),
    argument("--label", type=printable, help="with this label of the app"),
    argument("--since", type=moment, metavar="DATE", help="that occurred since this ISO date, or 2h for two hours ago"),
    argument("--until", dest="before", type=moment, metavar="DATE", help="that occurred before"),
    argument("--limit", type=_limit, default=20, metavar="N", help="at most N (default: %(default)s)"),
    needs_outbox=True,
)
def list_points(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print the latest points, a line each; as JSON an object a line.
    """
    names = ("state", "event", "host", "classification", "label", "since", "before")
    conditions = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    counts = recorder.outbox.counts()
    total = None if conditions else min(arguments.limit, sum(getattr(counts, state) for state in State))
    # On a terminal the points themselves show how far it is.
    with progress("Listing", total, hidden=sys.stdout.isatty() or arguments.limit <= _PAGE) as advance:
        for number, page in enumerate(_pages(recorder, conditions, arguments.limit)):
            if not arguments.json:
                write_points(page, heads=number == 0)
            else:
                write(*(to_json(stored.to_json()) for stored in page))
            advance(len(page))
    return 0


def _pages(recorder: UsageRecorder, conditions: dict[str, Any], limit: int) -> Iterator[Sequence[StoredPoint]]:
    below: int | None = None
    while True:
        page = recorder.outbox.list(**conditions, below=below, limit=min(limit, _PAGE))
        yield page
        limit -= len(page)
        if len(page) < _PAGE or not limit:
            return
        below = page[-1].row


@command(
    "show",
    "tell all about one usage point",
    argument("key", metavar="KEY", help="idempotency key"),
    needs_outbox=True,
)
def show(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print a point and what comes next for it; status 1 when it waits for a person.
    """
    stored, spilled = recorder.outbox.get(arguments.key), False
    if stored is None and recorder.spill is not None and recorder.spill.exists():
        stored, spilled = recorder.spill.get(arguments.key), True
    if stored is None:
        msg = f"show: no usage point has the key {arguments.key!r}"
        raise ConfigurationError(msg)
    pauses = recorder.outbox.pauses() if stored.state is State.PENDING else ()
    if arguments.json:
        write_json({**stored.to_json(), "spilled": spilled, "pauses": [*map(asdict, pauses)]})
    else:
        point, answered = stored.point, stored.registration
        facts = {
            "Key": point.idempotency_key,
            "Event": point.event,
            "Host": point.host or "unknown",
            "Occurred": point.occurred_at,
            "Outcome": _OUTCOMES[point.succeeded] or "not known yet",
            "Still image": point.is_still,
            "Production": point.is_production,
            "Label": point.label,
            "State": stored.state.value,
            "Attempts": stored.attempts,
            "Unanswered": stored.unanswered_since,
            "Last error": stored.last_error,
            "Classification": answered and answered.classification,
            "Billable": answered and answered.billable,
        }
        width = max(map(len, facts))
        for name, value in facts.items():
            if value is not None:
                write(f"{name:<{width}}  {to_text(value)}")
        write("")
        write(f"It is in the spill {recorder.spill!r} until the outbox accepts it." if spilled else _next(stored))
        for pause in pauses:
            write(f"Delivery is paused: {describe_pause(pause)}")
    return 1 if stored.state in {State.REJECTED, State.HELD} else 0


def _next(stored: StoredPoint) -> str:
    since = at(stored.due)
    if stored.state is State.PENDING:
        if stored.claimed:
            return f"A deliverer has it now; others may take it from {since} on."
        return f"It is sent again at {since}." if stored.due > utc_now() else f"It has been due since {since}."
    return {
        State.DEFERRED: f"Deferred since {since}: its work goes on, or nobody has said how it ended. See `complete`.",
        State.REGISTERED: f"Registered at {since}.",
        State.REJECTED: f"The API refused it for good at {since}. `retry KEY` sends it again.",
        State.HELD: (
            f"Held since {since}: it was sent, and nobody can tell whether it was counted. `retry KEY` sends it again "
            "with its key; `reconcile --counted KEY` forgets it."
        ),
    }[stored.state]

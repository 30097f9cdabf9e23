"""
The commands that change points by hand: `complete`, `retry`, `prune` and `import`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from ..errors import ConfigurationError
from ..outbox import Outbox, State
from ..points import UsagePoint, read_point, utc_now
from ..recording import UsageRecorder
from ..settings import SECONDS_PER_DAY
from .command import argument, command, plural, write

_STUCK: Final = (State.REJECTED, State.HELD)
_IMPORT_BATCH: Final = 500  # points in one transaction
_MAX_REASON: Final = 300  # characters


def pick(outbox: Outbox, keys: Sequence[str], *states: State) -> Sequence[UsagePoint]:
    """
    Return the points with these keys that are in one of *states*; print why each other key is left out.
    """
    points: list[UsagePoint] = []
    for key in dict.fromkeys(keys):
        stored = outbox.get(key)
        if stored is None:
            write(f"{key}: no usage point has this key.")
        elif stored.state not in states:
            write(f"{key}: the usage point is {stored.state}, not {' or '.join(states)}.")
        else:
            points.append(stored.point)
    return points


def _outcome(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--succeeded", dest="outcome", action="store_true", help="the work succeeded")
    group.add_argument("--failed", dest="outcome", action="store_false", help="the work failed; not billed")
    group.add_argument("--forget", dest="outcome", action="store_const", help="forget it; the work never started")


@command(
    "complete",
    "end deferred usage points whose work has ended without a report",
    argument("keys", nargs="+", metavar="KEY", help="idempotency keys"),
    _outcome,
    needs_outbox=True,
)
def complete(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Give deferred points their outcome, or forget them; status 1 when a key is not a deferred point's.
    """
    outbox = recorder.outbox
    deferred = pick(outbox, arguments.keys, State.DEFERRED)
    if arguments.outcome is None:
        outbox.discard([point.idempotency_key for point in deferred], {State.DEFERRED})
    else:
        outbox.add([replace(point, succeeded=arguments.outcome, occurred_at=utc_now()) for point in deferred])
    write(f"{plural(len(deferred), 'usage point')} no longer deferred.")
    return 0 if len(deferred) == len(set(arguments.keys)) else 1


@command(
    "retry",
    "make rejected and held usage points due again, with the same key",
    argument("keys", nargs="*", metavar="KEY", help="idempotency keys"),
    argument("--all", action="store_true", help="retry all of them"),
    needs_outbox=True,
)
def retry(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Make rejected and held points due; status 1 when a key belongs to none of them.
    """
    if bool(arguments.keys) == arguments.all:
        msg = "retry: pass idempotency keys or --all"
        raise ConfigurationError(msg)
    outbox = recorder.outbox
    stuck = pick(outbox, arguments.keys, *_STUCK)
    count = outbox.retry(None if arguments.all else [point.idempotency_key for point in stuck])
    write(f"{plural(count, 'usage point')} due again.")
    return 0 if len(stuck) == len(set(arguments.keys)) else 1


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if math.isfinite(days) and days >= 0:
        return days
    msg = f"expected a number of days, got {text!r}"
    raise argparse.ArgumentTypeError(msg)


@command(
    "prune",
    "delete registered usage points that are old enough",
    argument("--days", type=_days, metavar="N", help="older than N days (default: the setting)"),
    needs_outbox=True,
)
def prune(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Delete old registered points.
    """
    days = recorder.settings.retention if arguments.days is None else arguments.days
    write(f"{plural(recorder.outbox.prune(days * SECONDS_PER_DAY), 'usage point')} deleted.")
    return 0


@command(
    "import",
    "store the usage points that only a log has",
    argument("files", nargs="+", metavar="FILE", help='log files, "-" for standard input'),
)
def import_points(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Store the points of log lines; points already stored stay as they are. Status 1 when a line is unreadable.
    """
    points: list[UsagePoint] = []
    unreadable = 0
    for place, line in _lines(arguments.files):
        try:
            point = read_point(line)
        except ValueError as error:
            unreadable += 1
            write(f"{place} is not readable: {error!s:.{_MAX_REASON}}")
        else:
            points += [] if point is None else [point]
    for start in range(0, len(points), _IMPORT_BATCH):
        recorder.outbox.add(points[start : start + _IMPORT_BATCH])
    write(f"{plural(len(points), 'usage point')} in the outbox, {plural(unreadable, 'line')} unreadable.")
    return 1 if unreadable else 0


def _lines(files: Iterable[str]) -> Iterable[tuple[str, str]]:
    for file in files:
        standard = file == "-"
        source = sys.stdin.fileno() if standard else file
        try:
            with open(source, encoding="utf-8", errors="replace", closefd=not standard) as lines:
                for number, line in enumerate(lines, 1):
                    yield f"{file}:{number}", line
        except OSError as error:
            msg = f"import: {file!r} cannot be read: {error.strerror}"
            raise ConfigurationError(msg) from error

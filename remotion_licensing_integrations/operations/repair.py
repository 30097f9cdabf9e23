"""
The commands that change points by hand: `complete`, `retry`, `prune` and `import`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigurationError
from ..outbox import Outbox, State
from ..points import UsagePoint, read_point, utc_now
from ..recording import UsageRecorder
from ..settings import SECONDS_PER_DAY
from .arguments import days
from .command import argument, command
from .completion import FILE
from .inspect import count_foreign
from .output import answer, plural, progress

_STUCK: Final = (State.REJECTED, State.HELD)
_IMPORT_BATCH: Final = 500  # points in one transaction
_MAX_REASON: Final = 300  # characters


def pick(outbox: Outbox, keys: Sequence[str], *states: State) -> tuple[Sequence[UsagePoint], dict[str, str]]:
    """
    Return the points with these keys that are in one of *states*, and why each other key is left out.
    """
    points: list[UsagePoint] = []
    left: dict[str, str] = {}
    for key in dict.fromkeys(keys):
        stored = outbox.get(key)
        if stored is None:
            left[key] = "no usage point has this key"
        elif stored.state not in states:
            left[key] = f"the usage point is {stored.state}, not {' or '.join(states)}"
        else:
            points.append(stored.point)
    return points, left


def describe_left(left: Mapping[str, str]) -> Iterable[str]:
    """
    Return a line for each key that `pick` has left out.
    """
    return (f"{key}: {reason}." for key, reason in left.items())


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
    deferred, left = pick(outbox, arguments.keys, State.DEFERRED)
    if arguments.outcome is None:
        outbox.discard([point.idempotency_key for point in deferred], {State.DEFERRED})
    else:
        outbox.add([replace(point, succeeded=arguments.outcome, occurred_at=utc_now()) for point in deferred])
    count = len(deferred)
    lines = (*describe_left(left), f"{plural(count, 'usage point')} no longer deferred.")
    answer(arguments, {"completed": count, "left": left}, *lines)
    return 1 if left else 0


@command(
    "retry",
    "make rejected and held usage points due again, with the same key",
    argument("keys", nargs="*", metavar="KEY", help="idempotency keys"),
    argument("--all", action="store_true", help="retry all of them"),
    argument(
        "--adopt",
        metavar="FINGERPRINT",
        help="make points for a former licence key, which `status` names, due for today's key",
    ),
    needs_outbox=True,
)
def retry(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Make rejected and held points due, or those for a former licence key; status 1 when one is left.
    """
    if bool(arguments.keys) + arguments.all + (arguments.adopt is not None) != 1:
        msg = "retry: pass idempotency keys, --all or --adopt FINGERPRINT"
        raise ConfigurationError(msg)
    if arguments.adopt is not None:
        return _adopt(arguments, recorder)
    outbox = recorder.outbox
    stuck, left = pick(outbox, arguments.keys, *_STUCK)
    count = outbox.retry(None if arguments.all else [point.idempotency_key for point in stuck])
    lines = (*describe_left(left), f"{plural(count, 'usage point')} due again.")
    answer(arguments, {"due": count, "left": left}, *lines)
    return 1 if left else 0


def _adopt(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    fingerprint = recorder.keys.fingerprint
    if fingerprint is None:
        msg = "license_key: set REMOTION_LICENSE_KEY, the key for which the points become due"
        raise ConfigurationError(msg)
    if arguments.adopt not in count_foreign(recorder):
        msg = f"retry: no pending point is for another key with the fingerprint {arguments.adopt!r}; see `status`"
        raise ConfigurationError(msg)
    count = recorder.outbox.adopt(arguments.adopt, fingerprint)
    left = count_foreign(recorder).get(arguments.adopt, 0)
    lines = (
        f"{plural(count, 'usage point')} for today's key now; what was sent without an answer is held.",
        f"{plural(left, 'usage point')} left, which a deliverer with the former key has claimed: try again.",
    )
    answer(arguments, {"adopted": count, "left": left}, *lines[: 2 if left else 1])
    return 1 if left else 0


@command(
    "prune",
    "delete registered usage points that are old enough",
    argument("--days", type=days, metavar="N", help="older than N days (default: the setting)"),
    needs_outbox=True,
)
def prune(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Delete old registered points.
    """
    seconds = (recorder.settings.retention if arguments.days is None else arguments.days) * SECONDS_PER_DAY
    with progress("Deleting", recorder.outbox.count_old(seconds)) as advance:
        count = recorder.outbox.prune(seconds, on_step=advance)
    answer(arguments, {"deleted": count}, f"{plural(count, 'usage point')} deleted.")
    return 0


def _files(parser: argparse.ArgumentParser) -> None:
    action: Any = parser.add_argument("files", nargs="+", metavar="FILE", help='log files, "-" for standard input')
    action.complete = FILE


@command(
    "import",
    "store the usage points that only a log has",
    _files,
)
def import_points(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Store the points of log lines; points already stored stay as they are. Status 1 when a line is unreadable.
    """
    count, unreadable = 0, dict[str, str]()
    points: list[UsagePoint] = []
    with progress("Importing", _size(arguments.files), unit="bytes") as advance:
        for place, line in _lines(arguments.files):
            try:
                point = read_point(line.decode(errors="replace"))
            except ValueError as error:
                unreadable[place] = str(error)[:_MAX_REASON]
            else:
                points += [] if point is None else [point]
            advance(len(line))
            if len(points) == _IMPORT_BATCH:
                recorder.outbox.add(points)
                count += len(points)
                points.clear()
        recorder.outbox.add(points)
        count += len(points)
    answer(
        arguments,
        {"imported": count, "unreadable": unreadable},
        *(f"{place} is not readable: {reason}" for place, reason in unreadable.items()),
        f"{plural(count, 'usage point')} in the outbox, {plural(len(unreadable), 'line')} unreadable.",
    )
    return 1 if unreadable else 0


def _size(files: Iterable[str]) -> int | None:
    try:
        return sum(Path(file).stat().st_size for file in files if file != "-") or None
    except (OSError, ValueError):
        return None


def _lines(files: Iterable[str]) -> Iterable[tuple[str, bytes]]:
    for file in files:
        standard = file == "-"
        source = sys.stdin.fileno() if standard else file
        try:
            with open(source, "rb", closefd=not standard) as lines:
                for number, line in enumerate(lines, 1):
                    yield f"{file}:{number}", line
        except (OSError, ValueError) as error:
            msg = f"import: {file!r} cannot be read: {error.strerror if isinstance(error, OSError) else error}"
            raise ConfigurationError(msg) from error

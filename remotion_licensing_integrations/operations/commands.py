"""
What an operator can ask of an outbox, as functions; the command line and others that have one run them.

Each takes the parsed arguments and the recorder, writes to standard output, and returns an exit status.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .._support.masking import mask
from ..api import get_usage, register_usage_event
from ..delivery import Deliverer, Worker
from ..errors import ConfigurationError, LicensingError
from ..outbox import State, StoredPoint
from ..points import UsagePoint, read_point, utc_now
from ..recording import UsageRecorder
from ..settings import SECONDS_PER_DAY, Settings, check_setting
from .doctor import OVERDUE, examine

Command = Callable[[argparse.Namespace, UsageRecorder], int]

_IMPORT_BATCH: Final = 500  # points in one transaction
_MAX_OVERDUE: Final = 20  # points
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def status(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print the counts, and the points whose work should have ended long ago.
    """
    counts = recorder.outbox.counts()
    overdue = recorder.outbox.list(State.DEFERRED, before=datetime.now(UTC) - OVERDUE, limit=_MAX_OVERDUE)
    if arguments.json:
        keys = [stored.point.idempotency_key for stored in overdue]
        _print(json.dumps({**asdict(counts), "overdue": keys}, default=datetime.isoformat))
        return 0
    _print(f"Outbox    {recorder.outbox!r}")
    _print(f"Delivery  {recorder.settings.delivery} to {recorder.settings.base_url}")
    for state in State:
        _print(f"  {state:<11}{getattr(counts, state):>9,}")
    if counts.oldest_pending is not None:
        _print(f"Oldest pending point: {_age(counts.oldest_pending)} old")
    if counts.rejected or counts.held:
        _print("See `list --state rejected`, `list --state held`; `retry` makes them due again.")
    if overdue:
        _print("Deferred for more than a day; has their work ended? `complete KEY` ends them:")
    for stored in overdue:
        _print(_line(stored))
    return 0


def list_points(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print the latest points.
    """
    state = State(arguments.state) if arguments.state else None
    for stored in recorder.outbox.list(state, limit=arguments.limit):
        _print(json.dumps(stored.to_json()) if arguments.json else _line(stored))
    return 0


def deliver(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Deliver once, or until SIGINT or SIGTERM; status 1 when delivery is paused at the end.
    """
    if recorder.settings.license_key is None:
        msg = "license_key: set REMOTION_LICENSE_KEY; nothing can be delivered without it"
        raise ConfigurationError(msg)
    if recorder.settings.delivery == "off":
        msg = 'delivery: is "off", so nothing is sent; "external" leaves it to this command'
        raise ConfigurationError(msg)
    with closing(Deliverer(recorder.outbox, recorder.settings)) as delivery:
        if arguments.once:
            _print(f"{delivery.deliver()} usage points registered.")
        else:
            _work(recorder, delivery)
    if delivery.pause_reason is not None:
        _print(f"Paused: {delivery.pause_reason}")
        return 1
    return 0


def _work(recorder: UsageRecorder, delivery: Deliverer) -> None:
    worker = Worker(recorder.outbox, delivery, retention=recorder.settings.retention * SECONDS_PER_DAY)
    # Blocked here and so in the threads that start: whenever a signal comes, it waits for `sigwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    worker.start()
    _print(f"Delivering usage points from {recorder.outbox!r}; Ctrl+C ends it.")
    signal.sigwait(_STOP_SIGNALS)
    worker.stop(recorder.settings.shutdown_timeout)


def complete(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Give deferred points their outcome, or forget them; status 1 when one of the keys is no deferred point's.
    """
    found = [recorder.outbox.get(key) for key in arguments.keys]
    deferred = [stored.point for stored in found if stored is not None and stored.state is State.DEFERRED]
    if arguments.outcome is None:
        recorder.outbox.discard([point.idempotency_key for point in deferred])
    else:
        recorder.outbox.add([replace(point, succeeded=arguments.outcome, occurred_at=utc_now()) for point in deferred])
    for key in sorted(set(arguments.keys) - {point.idempotency_key for point in deferred}):
        _print(f"No deferred usage point has the key {key}.")
    _print(f"No longer deferred: {len(deferred)}.")
    return 0 if len(deferred) == len(arguments.keys) else 1


def retry(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Make rejected and held points due.
    """
    if bool(arguments.keys) == arguments.all:
        msg = "retry: name idempotency keys, or --all"
        raise ConfigurationError(msg)
    _print(f"{recorder.outbox.retry(None if arguments.all else arguments.keys)} usage points are due again.")
    return 0


def prune(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Delete old registered points.
    """
    days = recorder.settings.retention if arguments.days is None else arguments.days
    _print(f"{recorder.outbox.prune(days * SECONDS_PER_DAY)} usage points deleted.")
    return 0


def import_points(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Store the points of log lines; points already stored stay as they are. Status 1 when a line cannot be read.
    """
    points: list[UsagePoint] = []
    damaged = 0
    for place, line in _lines(arguments.files):
        try:
            point = read_point(line)
        except ValueError as error:
            damaged += 1
            _print(f"{place} is not readable: {error}")
        else:
            points += [] if point is None else [point]
    for start in range(0, len(points), _IMPORT_BATCH):
        recorder.outbox.add(points[start : start + _IMPORT_BATCH])
    _print(f"{len(points)} usage points are in the outbox, {damaged} lines could not be read.")
    return 1 if damaged else 0


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


def usage(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print the licensing API's counts.
    """
    counted = asdict(_fetch_usage(recorder.settings, arguments.since))
    if arguments.json:
        _print(json.dumps(counted))
        return 0
    _print(f"{'':<22}{'billable':>12}{'development':>13}{'failed':>9}")
    for name in ("cloud_renders", "web_renders"):
        row = counted[name]
        _print(f"{name.replace('_', ' '):<22}{row['billable']:>12,}{row['development']:>13,}{row['failed']:>9,}")
    return 0


def _fetch_usage(settings: Settings, since: datetime | None) -> Any:
    if settings.private_license_key is None:
        msg = "private_license_key: set REMOTION_PRIVATE_LICENSE_KEY to read usage"
        raise ConfigurationError(msg)
    return get_usage(
        license_key=settings.private_license_key, since=since, base_url=settings.base_url, timeout=settings.timeout
    )


def reconcile(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Show held points beside the API's counts, or forget the held points that the API has counted.
    """
    if arguments.counted:
        _print(f"{recorder.outbox.discard(arguments.counted)} usage points forgotten.")
        return 0
    held = recorder.outbox.list(State.HELD, limit=1_000)
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    _print(f"Held: {len(held)} usage points that the licensing API may or may not have counted.")
    for stored in held:
        _print(_line(stored))
    _print(f"Counted by the licensing API since {month:%Y-%m-%d} (UTC):")
    usage(argparse.Namespace(since=None, json=False), recorder)
    if held:
        _print("`retry KEY` sends a point again with its key; `reconcile --counted KEY` forgets one that was counted.")
    return 0


def doctor(_: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print findings; status 1 when one of them must be mended.
    """
    findings = examine(recorder)
    for finding in findings:
        _print(f"{finding.level:<8}{finding.text}")
    return 1 if any(finding.level == "error" for finding in findings) else 0


def register(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Register one point directly, past the outbox.
    """
    settings = recorder.settings
    if settings.license_key is None:
        msg = "license_key: set REMOTION_LICENSE_KEY to register usage points"
        raise ConfigurationError(msg)
    point = UsagePoint(
        event=arguments.event,
        host=check_setting("host", arguments.host) or settings.host,
        succeeded=not arguments.failed,
        is_still=arguments.still,
        is_production=settings.is_production and not arguments.development,
        **({"idempotency_key": arguments.idempotency_key} if arguments.idempotency_key else {}),
    )
    _print(f"Idempotency key: {point.idempotency_key}")
    registration = register_usage_event(
        license_key=settings.wire_key,
        **point.to_event(),
        base_url=settings.base_url,
        timeout=settings.timeout,
        idempotency=settings.idempotency,
    )
    billable = {True: "yes", False: "no", None: "not said"}[registration.billable]
    _print(f"Registered. Classification: {registration.classification or 'not said'}; billable: {billable}.")
    return 0


#: Commands that make no sense without points that were recorded before.
NEED_OUTBOX: Final[frozenset[Command]] = frozenset({status, list_points, complete, retry, prune, reconcile})


def run(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Run the chosen command; an error of ours becomes one line on standard error and status 2.
    """
    try:
        status_code: int = arguments.command(arguments, recorder)
    except LicensingError as error:
        return complain(error)
    except BrokenPipeError:
        # Whoever reads along has seen enough (`list | head`); what Python still flushes at its exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status_code


def complain(error: LicensingError) -> int:
    """
    Say on standard error what could not be done, and return status 2.
    """
    # A key may stand where a host should.
    sys.stderr.write(f"error: {mask(str(error))}\n")
    return 2


def _line(stored: StoredPoint) -> str:
    point = stored.point
    facts: Sequence[str] = (
        f"{point.occurred_at:%Y-%m-%d %H:%M:%S}Z",
        f"{stored.state:<10}",
        point.idempotency_key,
        point.event,
        point.host or "no host",
        {True: "succeeded", False: "failed", None: "no outcome"}[point.succeeded],
        f"attempts {stored.attempts}",
        (stored.registration and stored.registration.classification) or "",
        stored.last_error or "",
    )
    return "  ".join(facts).rstrip()


def _age(moment: datetime) -> str:
    return str(timedelta(seconds=int((datetime.now(UTC) - moment).total_seconds())))


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

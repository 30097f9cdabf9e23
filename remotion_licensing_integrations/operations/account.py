"""
The commands that ask the licensing API directly: `usage`, `reconcile` and `register`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from ..api import get_usage, register_usage_event
from ..errors import ConfigurationError
from ..outbox import State
from ..points import EVENTS, Usage, UsagePoint
from ..recording import UsageRecorder
from ..settings import Settings, check_setting
from .command import argument, command, describe_point, plural, write
from .repair import pick

_MAX_HELD: Final = 1_000  # points


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        msg = f"expected an ISO date such as 2026-01-31, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@command(
    "usage",
    "show what the licensing API has counted",
    argument("--since", type=_moment, metavar="DATE", help="ISO date, at most 90 days ago"),
    argument("--json", action="store_true", help="print JSON"),
)
def usage(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print the licensing API's counts.
    """
    counts = _fetch_usage(recorder.settings, arguments.since)
    if arguments.json:
        write(json.dumps(asdict(counts)))
    else:
        _write_usage(counts)
    return 0


def _fetch_usage(settings: Settings, since: datetime | None = None) -> Usage:
    if settings.private_license_key is None:
        msg = "private_license_key: set REMOTION_PRIVATE_LICENSE_KEY to read usage"
        raise ConfigurationError(msg)
    return get_usage(
        license_key=settings.private_license_key, since=since, base_url=settings.base_url, timeout=settings.timeout
    )


def _write_usage(counts: Usage) -> None:
    write(f"{'':<22}{'billable':>12}{'development':>13}{'failed':>9}")
    for name, count in (("cloud renders", counts.cloud_renders), ("web renders", counts.web_renders)):
        write(f"{name:<22}{count.billable:>12,}{count.development:>13,}{count.failed:>9,}")


@command(
    "reconcile",
    "compare this outbox with the licensing API and resolve held points",
    argument("--counted", nargs="+", metavar="KEY", help="forget these held points: the API has counted them"),
    needs_outbox=True,
)
def reconcile(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Show held points beside the API's counts, or forget those that the API has counted.
    """
    return _forget(arguments, recorder) if arguments.counted else _compare(recorder)


def _forget(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    held = pick(recorder.outbox, arguments.counted, State.HELD)
    count = recorder.outbox.discard([point.idempotency_key for point in held], {State.HELD})
    write(f"{plural(count, 'usage point')} forgotten.")
    return 0 if len(held) == len(set(arguments.counted)) else 1


def _compare(recorder: UsageRecorder) -> int:
    held = recorder.outbox.list(State.HELD, limit=_MAX_HELD)
    write(f"Held: {plural(len(held), 'usage point')} that the licensing API may or may not have counted.")
    for stored in held:
        write(describe_point(stored))
    write(f"Counted by the licensing API since {datetime.now(UTC):%Y-%m}-01 (UTC):")
    _write_usage(_fetch_usage(recorder.settings))
    if held:
        write("`retry KEY` sends a point again with its key; `reconcile --counted KEY` forgets one that was counted.")
    return 0


@command(
    "register",
    "register one usage point with the licensing API now",
    argument("event", choices=EVENTS),
    argument("--host", help="origin of the frontend"),
    argument("--failed", action="store_true", help="the conversion failed"),
    argument("--still", action="store_true", help="a still image was rendered"),
    argument("--development", action="store_true", help="do not bill this point"),
    argument("--idempotency-key", metavar="KEY", help="key of an earlier attempt"),
)
def register(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Register one point directly, without the outbox.
    """
    settings = recorder.settings
    if not recorder.enabled:
        msg = "license_key: set REMOTION_LICENSE_KEY or REMOTION_PRIVATE_LICENSE_KEY to register usage points"
        raise ConfigurationError(msg)
    point = UsagePoint(
        event=arguments.event,
        host=check_setting("host", arguments.host) or settings.host,
        succeeded=not arguments.failed,
        is_still=arguments.still,
        is_production=settings.is_production and not arguments.development,
        **({"idempotency_key": arguments.idempotency_key} if arguments.idempotency_key else {}),
    )
    write(f"Idempotency key: {point.idempotency_key}")
    registration = register_usage_event(
        license_key=recorder.keys.wire_key,
        **point.to_event(),
        base_url=settings.base_url,
        timeout=settings.timeout,
        idempotency=settings.idempotency,
    )
    billable = {True: "yes", False: "no", None: "not said"}[registration.billable]
    write(f"Registered. Classification: {registration.classification or 'not said'}; billable: {billable}.")
    return 0

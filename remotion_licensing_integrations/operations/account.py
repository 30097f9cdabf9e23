"""
The commands that ask the licensing API directly: `usage` and `register`.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import datetime

from ..api import get_usage, register_usage_event
from ..errors import ConfigurationError, KeyRefusedError
from ..points import EVENTS, Usage, UsagePoint
from ..recording import UsageRecorder
from ..settings import LicenseKeys, Settings, check_setting
from .arguments import moment
from .command import argument, command
from .output import answer, write, write_json, write_table


@command(
    "usage",
    "show what the licensing API has counted",
    argument("--since", type=moment, metavar="DATE", help="ISO date, at most 90 days ago"),
)
def usage(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print the licensing API's counts.
    """
    counts = fetch_usage(recorder.settings, arguments.since)
    if arguments.json:
        write_json(asdict(counts))
    else:
        _write_usage(counts)
    return 0


def fetch_usage(settings: Settings, since: datetime | None) -> Usage:
    """
    Return what the licensing API has counted since *since*, or since the month began in UTC.

    Raises:
        ConfigurationError: No private key is set, or the API refuses it.
    """
    key = LicenseKeys(settings).private
    if key is None:
        msg = "private_license_key: set REMOTION_PRIVATE_LICENSE_KEY to read usage"
        raise ConfigurationError(msg)
    try:
        return get_usage(license_key=key, since=since, base_url=settings.base_url, timeout=settings.timeout)
    except KeyRefusedError as error:
        msg = f"private_license_key: the API refuses it ({error}); copy it again from remotion.pro, not the public one"
        raise ConfigurationError(msg) from error


def _write_usage(counts: Usage) -> None:
    names = {"cloud renders": counts.cloud_renders, "web renders": counts.web_renders}
    rows = [(name, count.billable, count.development, count.failed) for name, count in names.items()]
    write_table(("EVENT", "BILLABLE", "DEVELOPMENT", "FAILED"), rows)


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
    if not arguments.json:
        write(f"Idempotency key: {point.idempotency_key}")
    registration = register_usage_event(
        license_key=recorder.keys.wire_key,
        **point.to_event(),
        base_url=settings.base_url,
        timeout=settings.timeout,
        idempotency=settings.idempotency,
    )
    billable = {True: "yes", False: "no", None: "not said"}[registration.billable]
    answer(
        arguments,
        {"idempotency_key": point.idempotency_key, **asdict(registration)},
        f"Registered. Classification: {registration.classification or 'not said'}; billable: {billable}.",
    )
    return 0

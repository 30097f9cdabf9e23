"""
The words of the commands, declared once for the command line and for others that have one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from ..outbox import State
from ..points import EVENTS
from . import commands

_MAX_LISTED: Final = 1_000_000  # points


def add_commands(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """
    Declare the commands with *add_parser*, the method of an argument parser's sub-parsers; each sets `command`.
    """

    def add(name: str, run: commands.Command, summary: str) -> argparse.ArgumentParser:
        command = add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.set_defaults(command=run)
        return command

    status_parser = add(
        "status", commands.status, "show how many usage points are in each state, and which wait for too long"
    )
    status_parser.add_argument("--json", action="store_true", help="print JSON")
    list_parser = add("list", commands.list_points, "show the latest usage points")
    list_parser.add_argument("--state", choices=[state.value for state in State], help="only these")
    list_parser.add_argument("--limit", type=_limit, default=20, metavar="N", help="at most N (default: %(default)s)")
    list_parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    deliver_parser = add("deliver", commands.deliver, "deliver usage points until stopped")
    deliver_parser.add_argument("--once", action="store_true", help="deliver what is due now, then end")
    complete_parser = add("complete", commands.complete, "end deferred usage points whose work nobody has reported")
    complete_parser.add_argument("keys", nargs="+", metavar="KEY", help="idempotency keys")
    outcome = complete_parser.add_mutually_exclusive_group(required=True)
    outcome.add_argument("--succeeded", dest="outcome", action="store_true", help="the work succeeded")
    outcome.add_argument("--failed", dest="outcome", action="store_false", help="it failed, and is not billed")
    outcome.add_argument("--forget", dest="outcome", action="store_const", const=None, help="it never began")
    retry_parser = add("retry", commands.retry, "make rejected and held usage points due again, with the same key")
    retry_parser.add_argument("keys", nargs="*", metavar="KEY", help="idempotency keys")
    retry_parser.add_argument("--all", action="store_true", help="all of them")
    prune_parser = add("prune", commands.prune, "delete registered usage points that are old enough")
    prune_parser.add_argument("--days", type=_days, metavar="N", help="older than N days (default: the setting)")
    import_parser = add("import", commands.import_points, "store the usage points that only a log has")
    import_parser.add_argument("files", nargs="+", metavar="FILE", help='log files, "-" for standard input')
    usage_parser = add("usage", commands.usage, "show what the licensing API has counted")
    usage_parser.add_argument("--since", type=_moment, metavar="DATE", help="ISO date, at most 90 days ago")
    usage_parser.add_argument("--json", action="store_true", help="print JSON")
    reconcile_parser = add(
        "reconcile", commands.reconcile, "compare this outbox with the licensing API and settle held points"
    )
    reconcile_parser.add_argument(
        "--counted", nargs="+", default=[], metavar="KEY", help="forget these held points: the API has counted them"
    )
    add("doctor", commands.doctor, "look for what is wrong with the set-up")
    register_parser = add("register", commands.register, "register one usage point with the licensing API now")
    register_parser.add_argument("event", choices=EVENTS)
    register_parser.add_argument("--host", help="origin of the frontend")
    register_parser.add_argument("--failed", action="store_true", help="the conversion failed")
    register_parser.add_argument("--still", action="store_true", help="a still image was rendered")
    register_parser.add_argument("--development", action="store_true", help="not to be billed")
    register_parser.add_argument("--idempotency-key", metavar="KEY", help="key of an earlier try")


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_LISTED:
        return int(text)
    msg = f"expected a whole number from 1 to {_MAX_LISTED}, got {text!r}"
    raise argparse.ArgumentTypeError(msg)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if math.isfinite(days) and days >= 0:
        return days
    msg = f"expected a number of days, got {text!r}"
    raise argparse.ArgumentTypeError(msg)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        msg = f"expected an ISO date such as 2026-01-31, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

"""
The command line: `remotion-licensing`, or `python -m remotion_licensing_integrations`.

Settings come from the environment; the commands themselves are in `commands`.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from contextlib import closing

from .._support.version import VERSION
from ..errors import ConfigurationError, LicensingError
from ..outbox import Outbox
from ..recording import UsageRecorder
from ..settings import ENVIRONMENT, Settings
from ..testing.sandbox import command as sandbox
from . import commands
from .parser import add_commands


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command and return its exit status: 0 done, 1 something needs attention, 2 it could not be done.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if "sandbox" in arguments:
        return sandbox.run(arguments)
    try:
        given = {"outbox": arguments.outbox} if arguments.outbox else {}
        recorder = UsageRecorder(Settings.from_env(**given))
        with closing(recorder.outbox):
            _check_exists(recorder.outbox, arguments.command)
            return commands.run(arguments, recorder)
    except LicensingError as error:
        return commands.complain(error)


def _check_exists(outbox: Outbox, command: commands.Command) -> None:
    # A new, empty outbox would answer every question with "nothing", as if all were well.
    if command in commands.NEED_OUTBOX and not outbox.exists():
        msg = f"outbox: there is no {outbox!r}; point --outbox or {ENVIRONMENT['outbox']} at the app's own"
        raise ConfigurationError(msg)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="remotion-licensing",
        description="Look after the usage points of Remotion conversions: deliver, inspect, mend.",
        epilog=f"Settings come from the environment: {', '.join(ENVIRONMENT.values())}.",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--outbox", metavar="URL", help=f"where the usage points are [{ENVIRONMENT['outbox']}]")
    added = parser.add_subparsers(required=True, metavar="COMMAND")
    add_commands(added.add_parser)
    summary = "run a local licensing server for development and tests"
    sandbox_parser = added.add_parser("sandbox", help=summary, description=f"{summary.capitalize()}.")
    sandbox_parser.set_defaults(sandbox=True)
    sandbox.add_arguments(sandbox_parser)
    return parser

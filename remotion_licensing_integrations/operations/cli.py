"""
The command line: `remotion-licensing`, or `python -m remotion_licensing_integrations`.

`manage.py remotion_licensing` has the same commands. Settings come from the app that `--app` names, from the
environment, or from Django's.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final, ParamSpec

from .._support.masking import mask
from .._support.text import to_line
from .._support.version import VERSION
from ..errors import ConfigurationError, LicensingError
from ..recording import UsageRecorder
from ..settings import APP_VARIABLE, ENVIRONMENT, Settings
from ..testing import sandbox
from .account import register, usage
from .app import FoundApp, find_app
from .command import Command
from .completion import SHELLS, PrintCompletion
from .deliver import deliver
from .doctor import doctor
from .inspect import list_points, show, status
from .reconcile import reconcile
from .repair import complete, import_points, prune, retry
from .report import report

P = ParamSpec("P")

DESCRIPTION: Final = "Deliver, inspect and repair the usage points of Remotion conversions."
COMMANDS: Final = (
    *(status, list_points, show, deliver, complete, retry, prune, import_points),
    *(report, usage, reconcile, register, doctor),
)
REMEDY: Final = f"point --app, --outbox or {ENVIRONMENT['outbox']} at the app's outbox"
_INTERRUPTED: Final = 130  # as shells have it
#: Windows has another number for it (https://github.com/python/cpython/issues/79935).
_CLOSED_PIPE: Final = frozenset({errno.EPIPE} if os.name == "posix" else {errno.EPIPE, errno.EINVAL})


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command and return its exit status.

    0 done, 1 something needs attention, 2 the command failed, 130 it was interrupted.
    """
    arguments = _parser().parse_args(argv)
    # It writes to the standard error of the moment, which a progress bar replaces as long as it is shown.
    handlers = [logging.lastResort] if logging.lastResort else None
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", handlers=handlers)
    return _guard(_run_alone if "command" in arguments else sandbox.run, arguments)


def run(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Run the chosen command and return its exit status, see `main`.

    Args:
        arguments: From the parsers of `add_commands`.
        recorder: The app's recorder; it stays open.
    """
    return _guard(_run, arguments, recorder)


def add_commands(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """
    Declare the commands with *add_parser*, a method of an argument parser's sub-parsers; each sets `command`.
    """
    for command in COMMANDS:
        parser = _add_parser(add_parser, command.name, command.summary)
        parser.set_defaults(command=command, app=None)
        parser.add_argument("--json", action="store_true", help="print JSON")
        for add_argument in command.arguments:
            add_argument(parser)


def _run_alone(arguments: argparse.Namespace) -> int:
    name = arguments.app_name or os.environ.get(APP_VARIABLE)
    arguments.app = find_app(name) if name else None
    recorder = _recorder(arguments)
    with closing(recorder.outbox):
        return _run(arguments, recorder)


def _recorder(arguments: argparse.Namespace) -> UsageRecorder:
    app: FoundApp | None = arguments.app
    url = arguments.outbox
    if app is None or (arguments.command.takes_any_app and {"missing", "mistaken"}.intersection(app.oddities)):
        return UsageRecorder(Settings.from_env(**({"outbox": url} if url else {})))
    if not url:
        return app.recorder
    return UsageRecorder(replace(app.settings, outbox=url), allows_host=app.recorder.allows_host)


def _run(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    command: Command = arguments.command
    # A new, empty outbox would hide the mistake: every command would report that there are no points.
    if command.needs_outbox and not recorder.outbox.exists():
        msg = f"outbox: {recorder.outbox!r} does not exist or has no tables; {REMEDY}"
        raise ConfigurationError(msg)
    return command.run(arguments, recorder)


def _guard(work: Callable[P, int], *args: P.args, **keywords: P.kwargs) -> int:
    try:
        return work(*args, **keywords)
    except LicensingError as error:
        # The message may contain a key, for instance one passed as a host.
        sys.stderr.write(f"error: {to_line(mask(str(error)))}\n")
        return 2
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        # The reader has closed the pipe (`list | head`); what Python flushes at its exit goes nowhere.
        if error.errno not in _CLOSED_PIPE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="remotion-licensing",
        description=DESCRIPTION,
        epilog=f"Settings come from the app, or from the environment: {', '.join(ENVIRONMENT.values())}.",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument(
        "--app",
        dest="app_name",
        metavar="MODULE:NAME",
        help=f"the app whose settings hold, such as main:app, or its factory [{APP_VARIABLE}]",
    )
    parser.add_argument("--outbox", metavar="URL", help=f"URL of the outbox [{ENVIRONMENT['outbox']}]")
    parser.add_argument(
        "--print-completion", choices=SHELLS, action=PrintCompletion, help="print the shell's completion, and end"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_commands(commands.add_parser)
    sandbox.add_arguments(
        _add_parser(commands.add_parser, "sandbox", "run a local licensing server for development and tests")
    )
    for command in commands.choices.values():
        # Behind the verb, too, where many write them first; without a default, which would hide what stands before it.
        for option, name in (("--app", "app_name"), ("--outbox", "outbox")):
            command.add_argument(option, dest=name, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _add_parser(add_parser: Callable[..., argparse.ArgumentParser], name: str, summary: str) -> argparse.ArgumentParser:
    return add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")

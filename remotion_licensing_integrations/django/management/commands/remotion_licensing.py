"""
`manage.py remotion_licensing …`: the commands of `remotion-licensing`, over this project's outbox.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ....errors import LicensingError
from ....operations import DESCRIPTION, add_commands, run
from ...project import find_project
from ...recorder import get_recorder


class Command(BaseCommand):
    """
    Runs one of the commands.
    """

    help = DESCRIPTION

    def add_arguments(self, parser: CommandParser) -> None:
        """
        Declare the commands.
        """
        # Django's own parsers want arguments that these commands' parsers do not know.
        commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser)
        add_commands(commands.add_parser)

    def handle(self, *_: Any, **options: Any) -> None:
        """
        Run the chosen command.

        Raises:
            CommandError: The settings are unusable.
            SystemExit: The command failed, or something needs attention.
        """
        try:
            recorder = get_recorder()
        except LicensingError as error:
            raise CommandError(str(error), returncode=2) from error
        # Not to Django's wrappers of them, which end each part of a line.
        streams = [options.get("stdout") or sys.stdout, options.get("stderr") or sys.stderr]
        if options["no_color"]:
            os.environ["NO_COLOR"] = "1"  # as Rich has it
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            # Only `doctor` looks at it; for the others importing every view would take time.
            app = find_project() if options["command"].takes_any_app else None
            status = run(argparse.Namespace(**options | {"app": app}), recorder)
        if status:
            raise SystemExit(status)

"""
What a command is.

Each is declared once, with argparse, which the bare install and `manage.py` have; Typer would want a second declaration
of each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..recording import UsageRecorder

Run = Callable[[argparse.Namespace, UsageRecorder], int]
Argument = Callable[[argparse.ArgumentParser], object]


@dataclass(frozen=True, slots=True)
class Command:
    """
    An operator's command; made by the decorator `command`.

    Attributes:
        run: Prints the answer, as JSON when `arguments.json` says so, and returns the exit status: 0 done, 1 something
            needs attention. `arguments.app` is the `FoundApp` that `--app` names, or `None`.
        arguments: Functions that each declare an argument on the command's parser.
        needs_outbox: Whether the command needs an outbox that exists already.
        takes_any_app: Whether the command runs for an app without a usable middleware, too; its recorder then comes
            from the environment.
    """

    name: str
    summary: str
    run: Run
    arguments: Sequence[Argument]
    needs_outbox: bool
    takes_any_app: bool


def command(
    name: str, summary: str, *arguments: Argument, needs_outbox: bool = False, takes_any_app: bool = False
) -> Callable[[Run], Command]:
    """
    Turn a function into the command *name*.
    """
    return lambda run: Command(name, summary, run, arguments, needs_outbox, takes_any_app)


def argument(*names: str, **options: Any) -> Argument:
    """
    Declare an argument, with the parameters of `ArgumentParser.add_argument`.
    """
    return lambda parser: parser.add_argument(*names, **options)

"""
What a command is, and how commands print.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .._support.text import to_line
from ..outbox import Pause, StoredPoint
from ..recording import UsageRecorder

Run = Callable[[argparse.Namespace, UsageRecorder], int]
Argument = Callable[[argparse.ArgumentParser], object]


@dataclass(frozen=True, slots=True)
class Command:
    """
    An operator's command; made by the decorator `command`.

    Attributes:
        run: Prints the answer and returns the exit status: 0 done, 1 something needs attention.
        arguments: Functions that each declare an argument on the command's parser.
        needs_outbox: Whether the command needs an outbox that exists already.
    """

    name: str
    summary: str
    run: Run
    arguments: Sequence[Argument]
    needs_outbox: bool


def command(name: str, summary: str, *arguments: Argument, needs_outbox: bool = False) -> Callable[[Run], Command]:
    """
    Turn a function into the command *name*.
    """
    return lambda run: Command(name, summary, run, arguments, needs_outbox)


def argument(*names: str, **options: Any) -> Argument:
    """
    Declare an argument, with the parameters of `ArgumentParser.add_argument`.
    """
    return lambda parser: parser.add_argument(*names, **options)


def write(line: str) -> None:
    """
    Print *line* and flush it; what a terminal would obey, in an error of a server for instance, is escaped.
    """
    sys.stdout.write(f"{to_line(line)}\n")
    sys.stdout.flush()


def plural(number: int, noun: str) -> str:
    """
    Return *number* with *noun*, such as "2 usage points".
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def describe_point(stored: StoredPoint) -> str:
    """
    Describe a point in one line.
    """
    point = stored.point
    facts = (
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


def describe_pause(pause: Pause) -> str:
    """
    Say which deliverer is paused, since when and why.
    """
    return (
        f"{pause.deliverer} has been paused since {pause.since:%Y-%m-%d %H:%M:%S}Z "
        f"and tries again at {pause.until:%H:%M:%S}Z: {pause.reason}"
    )

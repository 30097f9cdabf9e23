"""
How commands print: sentences, tables, JSON and progress.

Text that goes to a file or another program is plain and whole. On a terminal, with the extra `cli`, tables fit its
width, states have colours, and long work has a bar.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, TextIO

from .._support.text import to_encodable, to_line
from ..outbox import ignore
from .columns import Column

_GAP: Final = "  "


def write(*lines: str) -> None:
    """
    Print *lines* and flush them; what a terminal would obey, in an error of a server for instance, is escaped.
    """
    sys.stdout.write(to_encodable("".join(f"{to_line(line)}\n" for line in lines), sys.stdout))
    sys.stdout.flush()


def write_json(value: object) -> None:
    """
    Print *value* as JSON on one line.
    """
    write(to_json(value))


def to_json(value: object) -> str:
    """
    Return *value* as JSON; moments are in ISO form.
    """
    return json.dumps(value, default=datetime.isoformat)


def answer(arguments: argparse.Namespace, facts: Mapping[str, object], *lines: str) -> None:
    """
    Print *facts* when the command was asked for JSON, else *lines*.
    """
    if arguments.json:
        write_json(facts)
    else:
        write(*lines)


def write_table(columns: Sequence[str | Column], rows: Iterable[Sequence[object]], *, heads: bool = True) -> None:
    """
    Print a table.

    Args:
        columns: Titles, or columns with a rank.
        rows: Numbers stand at the right and moments are in UTC; `None` is an empty cell.
        heads: Whether to print the headings.
    """
    table = [*rows]
    heading = [column if isinstance(column, Column) else Column(column) for column in columns]
    numeric = [
        bool(table) and all(isinstance(row[index], int) for row in table if row[index] is not None)
        for index in range(len(heading))
    ]
    texts = [[to_text(value) for value in row] for row in table]
    if _is_rich(sys.stdout):
        from .terminal import print_table  # noqa: PLC0415 - the extra `cli`

        print_table(heading, texts, numeric, heads=heads)
        return
    lines = [[column.title for column in heading], *texts][not heads :]
    if not lines:
        return
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    forms = [f"{{:{'>' if right else '<'}{width}}}" for right, width in zip(numeric, widths, strict=True)]
    form = _GAP.join(forms)
    write(*(form.format(*line).rstrip() for line in lines))


def to_text(value: object) -> str:
    """
    Return *value* as a person reads it, on one line.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return at(value) if isinstance(value, datetime) else to_line(str(value))


def at(moment: datetime) -> str:
    """
    Return *moment*, which is in UTC, as commands write it.
    """
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def plural(number: int, noun: str) -> str:
    """
    Return *number* with *noun*, such as "2 usage points".
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def progress(
    doing: str, total: int | None, *, unit: str = "points", hidden: bool = False
) -> Generator[Callable[[int], object]]:
    """
    Show on the terminal, to whoever waits, how far the work of the block is; yield what counts up.

    Args:
        doing: What is being done, such as "Importing".
        total: How much there is to do; `None` when nobody knows.
        unit: What is counted; "bytes" are shown as kB, MB and so on.
        hidden: Whether to show nothing after all.
    """
    if hidden or not _is_rich(sys.stderr):
        yield ignore
        return
    from .terminal import show_progress  # noqa: PLC0415 - the extra `cli`

    with show_progress(doing, total, unit=unit) as advance:
        yield advance


def _is_rich(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb" and importlib.util.find_spec("rich") is not None

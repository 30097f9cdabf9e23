"""
Tables and progress bars on a terminal, by Rich.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from .columns import Column

_GAP: Final = 2  # cells between columns
_LEAST: Final = 10  # cells that a column which is cut needs to be of use

#: The colours of whole cells: states, classifications and the levels of findings.
STYLES: Final = {
    "deferred": "cyan",
    "pending": "yellow",
    "registered": "green",
    "rejected": "red",
    "held": "magenta",
    "billable": "green",
    "ok": "green",
    "warning": "yellow",
    "error": "red",
}


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], numeric: Sequence[bool], *, heads: bool
) -> None:
    """
    Print a table that is no wider than the terminal: columns of low rank go, and long cells are cut.
    """
    console = Console(file=sys.stdout, highlight=False)
    shown = _fitting(columns, rows, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=heads, header_style="bold")
    for index in shown:
        column = columns[index]
        table.add_column(Text(column.title), justify="right" if numeric[index] else "left", no_wrap=not column.is_cut)
    for row in rows:
        table.add_row(
            *(Text(row[index], STYLES.get(row[index], ""), no_wrap=True, overflow="ellipsis") for index in shown)
        )
    console.print(table)


def _fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    cells = zip((column.title for column in columns), *rows, strict=True)
    needs = [
        min(max(Text(cell).cell_len for cell in column_cells), _LEAST if column.is_cut else width)
        for column, column_cells in zip(columns, cells, strict=True)
    ]
    shown = [*range(len(columns))]
    while sum(needs[index] + _GAP for index in shown) - _GAP > width:
        least = max(shown, key=lambda index: columns[index].rank)
        if columns[least].rank == 0:
            break
        shown.remove(least)
    return shown


@contextmanager
def show_progress(doing: str, total: int | None, *, unit: str) -> Generator[Callable[[int], object]]:
    """
    Show a bar on standard error with rate and time left while the block runs; yield what counts up.
    """
    counted: tuple[ProgressColumn, ...] = (MofNCompleteColumn(), _Rate())
    if unit == "bytes":
        counted = DownloadColumn(), TransferSpeedColumn()
    ends = TimeElapsedColumn() if total is None else TimeRemainingColumn()
    with Progress(
        *(TextColumn("{task.description}"), BarColumn(), *counted, ends),
        console=Console(file=sys.stderr, highlight=False),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else it would take what goes to a file
    ) as bar:
        task = bar.add_task(doing, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)
            current = bar.tasks[0]
            # New points arrive while old ones are delivered.
            if current.total is not None and current.completed > current.total:
                bar.update(task, total=current.completed)

        yield advance


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """
        Return how much is done in a second.
        """
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")

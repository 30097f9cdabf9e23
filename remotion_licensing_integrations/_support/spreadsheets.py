"""
Writes CSV that a spreadsheet can open without harm.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

#: The columns of a usage point in a CSV file.
COLUMNS: Final = (
    *("idempotency_key", "event", "host", "succeeded", "is_still", "is_production", "occurred_at", "label", "state"),
    *("attempts", "billable", "classification", "last_error"),
)

# A spreadsheet runs a cell that begins with one of these as a formula; this includes the full-width forms.
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")


class _Echo:
    # `writerow` returns what `write` returns.
    def write(self, line: str) -> str:
        return line


def csv_writer() -> Callable[[Iterable[object]], str]:
    """
    Return a function that turns the values of a row into its line of CSV.
    """
    write: Any = csv.writer(_Echo()).writerow
    return lambda values: write([*map(_cell, values)])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text

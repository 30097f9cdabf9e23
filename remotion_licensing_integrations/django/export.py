"""
Writes usage points as CSV row by row, so that a table of any size can be exported.
"""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from django.db.models import QuerySet

from .models import UsagePointRecord

COLUMNS: Final = (
    "idempotency_key",
    "event",
    "host",
    "succeeded",
    "is_still",
    "is_production",
    "occurred_at",
    "label",
    "state",
    "attempts",
    "billable",
    "classification",
    "last_error",
)

_CHUNK: Final = 2_000  # rows fetched at a time

# A spreadsheet runs a cell that begins with one of these as a formula; this includes the full-width forms.
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")


class _Echo:
    # `writerow` returns what `write` returns.
    def write(self, line: str) -> str:
        return line


def csv_lines(records: QuerySet[UsagePointRecord]) -> Iterator[str]:
    """
    Yield the header and a line for each of *records*.
    """
    write = csv.writer(_Echo()).writerow
    yield write(COLUMNS)
    for record in records.iterator(chunk_size=_CHUNK):
        yield write(_cells(record))


async def acsv_lines(records: QuerySet[UsagePointRecord]) -> AsyncIterator[str]:
    """
    Same as `csv_lines`, but does not block the event loop.
    """
    write = csv.writer(_Echo()).writerow
    yield write(COLUMNS)
    async for record in records.aiterator(chunk_size=_CHUNK):
        yield write(_cells(record))


def _cells(record: UsagePointRecord) -> Sequence[str]:
    return [_cell(getattr(record, name)) for name in COLUMNS]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text

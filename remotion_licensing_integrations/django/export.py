"""
Writes usage points as CSV row by row, so that a table of any size can be exported.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from operator import attrgetter
from typing import Final

from django.db.models import QuerySet

from .._support.spreadsheets import COLUMNS, csv_writer
from .models import UsagePointRecord

_CHUNK: Final = 2_000  # rows fetched at a time
_cells: Final = attrgetter(*COLUMNS)


def csv_lines(records: QuerySet[UsagePointRecord]) -> Iterator[str]:
    """
    Yield the header and a line for each of *records*.
    """
    write = csv_writer()
    yield write(COLUMNS)
    for record in records.iterator(chunk_size=_CHUNK):
        yield write(_cells(record))


async def acsv_lines(records: QuerySet[UsagePointRecord]) -> AsyncIterator[str]:
    """
    Same as `csv_lines`, but does not block the event loop.
    """
    write = csv_writer()
    yield write(COLUMNS)
    async for record in records.aiterator(chunk_size=_CHUNK):
        yield write(_cells(record))

"""
Dates in the headers of responses.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def parse_http_date(header: str) -> datetime | None:
    """
    Return the moment that *header* names, aware; `None` when it names none.
    """
    try:
        date = parsedate_to_datetime(header)
    except Exception:  # noqa: BLE001 - the parser fails in more ways than it documents, and a header must break nothing
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)

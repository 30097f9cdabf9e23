"""
When to try again: pure decisions, no clock of their own and no I/O.
"""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from ..errors import CertificateError, LicensingError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BACKOFF: Final = 15 * 60.0  # seconds
MAX_RETRY_AFTER: Final = 3600.0  # seconds
_FIRST_BACKOFF: Final = 2.0  # seconds
_FIRST_CLIENT_DELAY: Final = 1.0  # seconds
_MAX_DOUBLINGS: Final = 16  # past every cap, and far below an overflow

_NUMBER: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+|inf(?:inity)?)", re.IGNORECASE | re.ASCII)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK: Final = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_ZONE: Final = r"(?:GMT|UTC|(?P<zone>[+-](?:[01][0-9]|2[0-3])[0-5][0-9]))"
#: The three forms of RFC 9110, section 5.6.7: IMF-fixdate, RFC 850, asctime.
_DATES: Final = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        rf"[a-z]{{3}}, (?P<day>[0-9]{{1,2}}) (?P<month>[a-z]{{3}}) (?P<year>[0-9]{{4}}) {_CLOCK} {_ZONE}",
        rf"[a-z]{{6,9}}, (?P<day>[0-9]{{2}})-(?P<month>[a-z]{{3}})-(?P<year>[0-9]{{2}}) {_CLOCK} {_ZONE}",
        rf"[a-z]{{3}} (?P<month>[a-z]{{3}}) (?P<day>[0-9 ][0-9]) {_CLOCK} (?P<year>[0-9]{{4}})",
    )
)


def backoff(attempts: int, *, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """
    Return how many seconds a usage point waits for its next attempt: `uniform(0, min(15 min, 2 s x 2**attempts))`.

    The full jitter spreads the points that one outage has gathered.

    Args:
        attempts: How many attempts have failed.
        uniform: Draws a number between two bounds.
    """
    return uniform(0, min(MAX_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(attempts, _MAX_DOUBLINGS)))


def client_delay(error: LicensingError, attempt: int, *, max_attempts: int) -> float | None:
    """
    Return how many seconds a direct call waits after a failed attempt: 1, 2, 4 …; `None` to give up.

    Only a missing answer is worth a repeat within one call; what the API did answer stands. A bad certificate stays
    bad for longer than a call lasts.

    Args:
        error: What the attempt failed with.
        attempt: Number of the failed attempt, starts at 1.
        max_attempts: How many attempts the call has.
    """
    if attempt >= max_attempts or not isinstance(error, TransportError) or isinstance(error, CertificateError):
        return None
    return min(MAX_BACKOFF, _FIRST_CLIENT_DELAY * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """
    Return the seconds a `Retry-After` header asks to wait, from 0 to 3,600; `None` when it says nothing usable.

    Beyond RFC 9110 it takes what servers really send: decimals, numeric time zones, numbers of any length.

    Args:
        value: The header; `None` when absent.
        now: The moment an HTTP date is compared with, aware.
    """
    value = (value or "").strip(" \t")
    if _NUMBER.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER)
    date = _http_date(value, now)
    return None if date is None else min(max((date - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _http_date(value: str, now: datetime) -> datetime | None:
    match = next(filter(None, (pattern.fullmatch(value) for pattern in _DATES)), None)
    if match is None:
        return None
    parts = match.groupdict()
    day, hour, minute, second = (int(parts[name]) for name in ("day", "hour", "minute", "second"))
    try:
        month = _MONTHS.index(parts["month"].lower()) + 1
        year = _full_year(parts["year"], now)
        return datetime(year, month, day, hour, minute, second, tzinfo=_zone(parts.get("zone")))
    except ValueError:
        return None


def _full_year(digits: str, now: datetime) -> int:
    year = int(digits)
    if len(digits) > 2:  # noqa: PLR2004 - the RFC 850 form has two digits
        return year
    # RFC 9110: two digits that look more than 50 years ahead mean the past century.
    year += now.year // 100 * 100
    return year - 100 if year > now.year + 50 else year


def _zone(offset: str | None) -> timezone:
    if offset is None:
        return UTC
    size = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    return timezone(-size if offset[0] == "-" else size)

"""
The values that arguments of commands can have; what cannot be read is an error of the parser, with status 2.
"""

from __future__ import annotations

import argparse
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from ..errors import ConfigurationError
from ..points import check_origin, utc_now

_DURATION: Final = re.compile(r"(?P<number>\d{1,9})(?P<unit>[smhdw])", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """
    Read a duration, such as 90s, 30m, 2h, 7d or 4w.
    """
    match = _DURATION.fullmatch(text)
    try:
        if match is not None:
            return timedelta(**{_UNITS[match["unit"]]: int(match["number"])})
    except OverflowError:
        pass
    msg = f"expected a duration such as 30m, 2h or 7d, got {text!r}"
    raise argparse.ArgumentTypeError(msg)


def moment(text: str) -> datetime:
    """
    Read a moment: an ISO date or date and time, in UTC unless it says otherwise, or how long ago it was.
    """
    try:
        if _DURATION.fullmatch(text):
            return utc_now() - duration(text)
        read = datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        msg = f"expected an ISO date such as 2026-01-31, or 2h for two hours ago, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


def origin(text: str) -> str:
    """
    Read an origin, such as https://myapp.com.
    """
    try:
        return check_origin("host", text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def printable(text: str) -> str:
    """
    Read a text that every store can compare with.
    """
    if text.isprintable():
        return text
    msg = f"expected printable characters, got {text!r}"
    raise argparse.ArgumentTypeError(msg)


def days(text: str) -> float:
    """
    Read a number of days.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and number >= 0:
        return number
    msg = f"expected a number of days, got {text!r}"
    raise argparse.ArgumentTypeError(msg)

"""
Compares this machine's clock with others: points carry its time, and months end by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from ...outbox import Finding
from ...points import utc_now

_MAX_SKEW: Final = timedelta(minutes=1)


def compare_clocks(whose: str, clock: datetime) -> Iterable[Finding]:
    """
    Compare this machine's clock with *clock*, which is *whose*.
    """
    seconds = round((utc_now() - clock).total_seconds())
    if abs(seconds) > _MAX_SKEW.total_seconds():
        yield Finding(
            "warning",
            "clock_differs",
            f"This machine's clock is {abs(seconds):,} s {'ahead of' if seconds > 0 else 'behind'} {whose}: points "
            "have wrong times and may count for another month. Let NTP set both.",
        )

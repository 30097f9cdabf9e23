"""
How long the body of a response is, as far as its headers tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import AnyStr, Final

#: Statuses whose response ends with its headers (RFC 9110, section 6.4.1).
_WITHOUT_BODY: Final = frozenset({204, 304})


def body_length(status: int, headers: Iterable[tuple[AnyStr, AnyStr]], name: AnyStr) -> float:
    """
    Return the bytes that the header *name*, which is `content-length`, promises; infinity when it promises none.
    """
    if status in _WITHOUT_BODY:
        return 0
    try:
        return int(next((value for header, value in headers if header.lower() == name), ""))
    except ValueError:
        return math.inf

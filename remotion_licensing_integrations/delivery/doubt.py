"""
When a point that got no answer can no longer be sent again without the danger of counting it twice.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ..settings import Idempotency

#: Seconds for which the API is trusted to remember an idempotency key; it documents no figure.
KEY_MEMORY: Final = 86_400.0


def find_doubt(unanswered_since: datetime | None, now: float, *, idempotency: Idempotency) -> str | None:
    """
    Return why a point must not be sent again, `None` when it may be.

    Args:
        unanswered_since: When it was first sent without an answer.
        now: The present moment in epoch seconds.
        idempotency: Where its idempotency key goes.
    """
    if unanswered_since is None:
        return None
    if idempotency == "off":
        return "it may have been counted, and no idempotency key makes a repeat safe"
    if now - unanswered_since.timestamp() >= KEY_MEMORY:
        return "it may have been counted, longer ago than the API can be trusted to remember its key"
    return None

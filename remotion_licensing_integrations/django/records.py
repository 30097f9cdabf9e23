"""
How a usage point is written in a row of the project's database, and read back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils.timezone import make_naive

from .models import UsagePointRecord


def to_columns(record: UsagePointRecord) -> tuple[Any, ...]:
    """
    Return *record* as the columns `POINT` and `PROGRESS` that every store reads alike.
    """
    return (
        record.idempotency_key,
        record.event,
        record.host,
        record.succeeded,
        record.is_still,
        record.is_production,
        to_aware(record.occurred_at).timestamp(),
        record.state,
        record.due,
        record.attempts,
        record.token,
        record.unanswered_since,
        record.last_error,
        record.billable,
        record.classification,
    )


def to_naive(moment: datetime) -> datetime:
    """
    Return *moment* as the project's columns take it: in projects without time zones naive, and then in UTC.
    """
    return moment if settings.USE_TZ else make_naive(moment, UTC)


def to_aware(stored: Any) -> Any:
    """
    Return what `to_naive` was given, `None` for `None`.
    """
    return stored.replace(tzinfo=UTC) if stored and stored.tzinfo is None else stored

"""
How a usage point is written in a row of the project's database, and read back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.utils.timezone import make_naive

from ..errors import ConfigurationError
from ..models import Registration, UsagePoint
from ..outbox import State, StoredPoint
from .models import UsagePointRecord

#: What a row raises that a newer version wrote, or that was edited by hand.
UNREADABLE: Final = (ConfigurationError, TypeError, ValueError, OverflowError)


def to_point(record: UsagePointRecord) -> UsagePoint:
    """
    Return the usage point of *record*.
    """
    return UsagePoint(
        event=record.event,
        host=record.host,
        succeeded=record.succeeded,
        is_still=record.is_still,
        is_production=record.is_production,
        idempotency_key=record.idempotency_key,
        occurred_at=to_aware(record.occurred_at),
    )


def to_stored(record: UsagePointRecord, now: float) -> StoredPoint:
    """
    Return *record* as every outbox shows it.
    """
    state = State(record.state)
    registered = state is State.REGISTERED
    return StoredPoint(
        point=to_point(record),
        state=state,
        attempts=record.attempts,
        due=datetime.fromtimestamp(record.due, UTC),
        claimed=state is State.PENDING and record.token is not None and record.due > now,
        registration=Registration(record.billable, record.classification) if registered else None,
        last_error=record.last_error,
        unanswered_since=to_moment(record.unanswered_since),
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


def to_moment(seconds: float | None) -> datetime | None:
    """
    Return the moment of so many epoch seconds.
    """
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

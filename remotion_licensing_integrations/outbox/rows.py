"""
What a row of a table of usage points means, whatever the database.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from ..errors import ConfigurationError
from ..points import Registration, UsagePoint, check_idempotency_key
from .contract import MAX_DELAY, MAX_ERROR_LENGTH, Counts, State, StoredPoint

logger: Final = logging.getLogger("remotion_licensing_integrations")

#: The columns that make a usage point, and those that say what has happened to it.
POINT: Final = ("idempotency_key", "event", "host", "succeeded", "is_still", "is_production", "occurred_at")
PROGRESS: Final = (
    *("state", "due", "attempts", "token", "unanswered_since", "last_error", "billable", "classification"),
)

#: What a row raises that a newer version wrote, that was edited by hand or is damaged.
UNREADABLE: Final = (ConfigurationError, TypeError, ValueError, OverflowError)


def to_row(point: UsagePoint) -> tuple[object, ...]:
    """
    Return the columns `POINT` of *point*, and its state.
    """
    return (
        point.idempotency_key,
        point.event,
        point.host,
        point.succeeded,
        point.is_still,
        point.is_production,
        point.occurred_at.timestamp(),
        (State.DEFERRED if point.succeeded is None else State.PENDING).value,
    )


def possible_keys(idempotency_keys: Iterable[str]) -> list[str]:
    """
    Return those that a point can have: of the others databases refuse some, and take some for another key.
    """
    return [key for key in idempotency_keys if _is_possible(key)]


def _is_possible(key: str) -> bool:
    try:
        check_idempotency_key(key)
    except ConfigurationError:
        return False
    return True


def to_point(columns: Sequence[Any]) -> UsagePoint:
    """
    Return the usage point of the columns `POINT`; raises one of `UNREADABLE` when they make none.
    """
    key, event, host, succeeded, is_still, is_production, occurred_at = columns
    return UsagePoint(
        event=event,
        host=host,
        succeeded=None if succeeded is None else bool(succeeded),
        is_still=bool(is_still),
        is_production=bool(is_production),
        idempotency_key=key,
        occurred_at=datetime.fromtimestamp(occurred_at, UTC),
    )


def to_stored(columns: Sequence[Any], now: float) -> StoredPoint:
    """
    Return what the columns `POINT` and `PROGRESS` show *now*; raises one of `UNREADABLE` when they make no point.
    """
    state, due, attempts, token, unanswered_since, last_error, billable, classification = columns[len(POINT) :]
    point = to_point(columns[: len(POINT)])
    answer = Registration(None if billable is None else bool(billable), classification)
    return StoredPoint(
        point=replace(point, succeeded=None) if state == State.DEFERRED else point,
        state=State(state),
        attempts=attempts,
        due=datetime.fromtimestamp(due, UTC),
        claimed=state == State.PENDING and token is not None and due > now,
        registration=answer if state == State.REGISTERED else None,
        last_error=last_error,
        unanswered_since=to_moment(unanswered_since),
    )


def to_stored_points(rows: Iterable[Sequence[Any]], now: float) -> list[StoredPoint]:
    """
    Return what `to_stored` can read of *rows*, and log what it cannot.
    """
    return [stored for row in rows if (stored := _readable(row, now)) is not None]


def _readable(row: Sequence[Any], now: float) -> StoredPoint | None:
    try:
        return to_stored(row, now)
    except UNREADABLE as error:
        logger.error(  # noqa: TRY400 - the message says it all
            "Usage point %r of the outbox cannot be read: %s", row[0], error, extra={"action": "point_unreadable"}
        )
        return None


def to_reason(error: Exception) -> str:
    """
    Return what is noted with a row that raised *error*, one of `UNREADABLE`.
    """
    return f"cannot be read: {error}"[:MAX_ERROR_LENGTH]


def to_counts(rows: Iterable[Sequence[Any]]) -> Counts:
    """
    Return the counts of *rows*, each a state with its points, those of them claimed, and when the oldest occurred.
    """
    count, claimed, oldest = ({row[0]: row[column] for row in rows} for column in (1, 2, 3))
    return Counts(
        **{state.value: count.get(state, 0) for state in State},
        claimed=claimed.get(State.PENDING, 0),
        oldest_pending=to_moment(oldest.get(State.PENDING)),
        oldest_deferred=to_moment(oldest.get(State.DEFERRED)),
    )


def to_wait(first: float | None, last: float, now: float) -> float | None:
    """
    Return the seconds until the next claim when pending points are due from *first* to *last*, or `None` when none is.
    """
    if first is None:
        return None
    return 0.0 if last > now + MAX_DELAY else max(0.0, first - now)


def to_moment(seconds: float | None) -> datetime | None:
    """
    Return the moment at so many epoch seconds.
    """
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

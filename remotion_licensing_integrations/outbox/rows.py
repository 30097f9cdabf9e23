"""
Translates between usage points and the rows of their table, for every database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from .._support.log import logger
from ..errors import ConfigurationError
from ..points import Registration, UsagePoint, check_idempotency_key
from .values import MAX_DELAY, MAX_ERROR_LENGTH, Change, ClaimedPoint, Counts, Pause, State, StoredPoint

#: The columns of a usage point, and those that say what has happened to it.
POINT: Final = (
    *("idempotency_key", "event", "host", "succeeded", "is_still", "is_production", "occurred_at"),
    *("label", "key_fingerprint"),
)
PROGRESS: Final = (
    *("state", "due", "attempts", "token", "unanswered_since", "last_error", "billable", "classification"),
)

#: The fingerprint of points for any licence key: a claim finds them by the same condition as the others.
ANY_KEY: Final = ""

#: Errors of a row that a newer version wrote, that was edited by hand or is damaged.
UNREADABLE: Final = (ConfigurationError, TypeError, ValueError, OverflowError)

_DEFERRED: Final = State.DEFERRED.value
_PENDING: Final = State.PENDING.value

Decode = Callable[[Any], datetime]


def to_row(point: UsagePoint, encode: Callable[[datetime], Any]) -> dict[str, Any]:
    """
    Return the columns of a new row.
    """
    return {
        "idempotency_key": point.idempotency_key,
        "event": point.event,
        "host": point.host,
        "succeeded": point.succeeded,
        "is_still": point.is_still,
        "is_production": point.is_production,
        "occurred_at": encode(point.occurred_at),
        "label": point.label,
        "key_fingerprint": point.key_fingerprint or ANY_KEY,
        "state": _DEFERRED if point.succeeded is None else _PENDING,
    }


def to_change(change: Change) -> dict[str, Any]:
    """
    Return the values of *change* for the statement that updates claimed points.
    """
    answer = change.registration
    return {
        "id": change.claimed.row,
        "token": change.claimed.token,
        "state": change.state.value,
        "delay": change.delay,
        "handed_back": int(not change.is_attempt),
        "unanswered": change.unanswered,
        "last_error": change.error,
        "billable": answer.billable if answer else None,
        "classification": answer.classification if answer else None,
    }


def to_point(columns: Sequence[Any], decode: Decode) -> UsagePoint:
    """
    Return the point of the columns `POINT`; raises one of `UNREADABLE` when there is none.
    """
    key, event, host, succeeded, is_still, is_production, occurred_at, label, key_fingerprint = columns
    return UsagePoint(
        event=event,
        host=host,
        succeeded=None if succeeded is None else bool(succeeded),
        is_still=bool(is_still),
        is_production=bool(is_production),
        idempotency_key=key,
        occurred_at=decode(occurred_at),
        label=label,
        key_fingerprint=key_fingerprint or None,
    )


def to_claimed(row: Sequence[Any], token: str, decode: Decode) -> ClaimedPoint:
    """
    Return the claimed point of a row: due time, id, attempts before, unanswered since, and the columns `POINT`.

    Raises one of `UNREADABLE` when there is none.
    """
    _, row_id, attempts, unanswered_since, *point = row
    return ClaimedPoint(row_id, token, to_point(point, decode), attempts + 1, to_moment(unanswered_since))


def to_stored(row: Sequence[Any], decode: Decode) -> StoredPoint:
    """
    Return the stored point of a row: the current time, id, and the columns `POINT` and `PROGRESS`.

    Raises one of `UNREADABLE` when there is none.
    """
    now, row_id, *columns = row
    state, due, attempts, token, unanswered_since, last_error, billable, classification = columns[len(POINT) :]
    answer = Registration(None if billable is None else bool(billable), classification)
    return StoredPoint(
        point=to_point(columns[: len(POINT)], decode),
        state=State(state),
        attempts=attempts,
        due=datetime.fromtimestamp(due, UTC),
        claimed=state == State.PENDING and token is not None and due > now,
        registration=answer if state == State.REGISTERED else None,
        last_error=last_error,
        unanswered_since=to_moment(unanswered_since),
        row=row_id,
    )


def to_stored_points(rows: Iterable[Sequence[Any]], decode: Decode) -> list[StoredPoint]:
    """
    Return the stored points of *rows*, and log rows that cannot be read.
    """
    return [stored for row in rows if (stored := _readable(row, decode)) is not None]


def _readable(row: Sequence[Any], decode: Decode) -> StoredPoint | None:
    try:
        return to_stored(row, decode)
    except UNREADABLE as error:
        logger.error(
            "Usage point %r in the outbox cannot be read: %s", row[2], error, extra={"action": "point_unreadable"}
        )
        return None


def to_reason(error: Exception) -> str:
    """
    Return the reason to store with a row that raised *error*, one of `UNREADABLE`.
    """
    return f"cannot be read: {error}"[:MAX_ERROR_LENGTH]


def to_counts(rows: Iterable[Sequence[Any]], decode: Decode) -> Counts:
    """
    Return the counts of *rows*, each a state with its points, those of them claimed, and when the oldest occurred.
    """
    count, claimed, oldest = ({row[0]: row[column] for row in rows} for column in (1, 2, 3))
    oldest_of = {state: decode(oldest[state]) for state in (State.PENDING, State.DEFERRED) if state in oldest}
    return Counts(
        **{state.value: count.get(state, 0) for state in State},
        claimed=claimed.get(State.PENDING, 0),
        oldest_pending=oldest_of.get(State.PENDING),
        oldest_deferred=oldest_of.get(State.DEFERRED),
    )


def to_event_counts(rows: Iterable[Sequence[Any]], fingerprints: Collection[str]) -> dict[str, int]:
    """
    Return the counts of *rows*, each an event, a fingerprint and points, for *fingerprints*.
    """
    counts: Counter[str] = Counter()
    for event, fingerprint, count in rows:
        if event and fingerprint in fingerprints:
            counts[event] += count
    return counts


def to_wait(first: float | None, last: float, now: float) -> float | None:
    """
    Return the seconds until the next claim when pending points are due from *first* to *last*, or `None` when none is.
    """
    if first is None:
        return None
    return 0.0 if last > now + MAX_DELAY else max(0.0, first - now)


def to_pause(row: Sequence[Any]) -> Pause:
    """
    Return the pause of a row.
    """
    deliverer, reason, since, until = row
    return Pause(
        deliverer=deliverer,
        reason=reason,
        since=datetime.fromtimestamp(since, UTC),
        until=datetime.fromtimestamp(until, UTC),
    )


def to_moment(seconds: float | None) -> datetime | None:
    """
    Return the moment of *seconds*, epoch seconds.
    """
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def possible_keys(idempotency_keys: Iterable[str]) -> list[str]:
    """
    Return the keys that a point can have: databases refuse some of the others, and mistake some for another key.
    """
    return [key for key in dict.fromkeys(idempotency_keys) if _is_possible(key)]


def _is_possible(key: str) -> bool:
    try:
        check_idempotency_key(key)
    except ConfigurationError:
        return False
    return True

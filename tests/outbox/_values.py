"""
Points and clocks for the tests of the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from remotion_licensing_integrations.outbox import ClaimedPoint, Outbox, State, StoredPoint
from remotion_licensing_integrations.points.point import Registration, UsagePoint

START = 1_700_000_000.0  # epoch seconds
DAY = 86_400.0  # seconds
REGISTRATION = Registration(billable=True, classification="billable")

#: What leads a claimed point into a state.
WAYS = {
    State.PENDING: lambda claimed: claimed.release(),
    State.REGISTERED: lambda claimed: claimed.register(REGISTRATION),
    State.REJECTED: lambda claimed: claimed.reject("no"),
    State.HELD: lambda claimed: claimed.hold("who knows", unanswered=True),
}
#: The states of points whose work has ended.
FINISHED = tuple(WAYS)


class Clock:
    """
    A clock that stands still until it is turned.
    """

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def moment(seconds: float = 0.0) -> datetime:
    """
    Return the moment *seconds* after `START`.
    """
    return datetime.fromtimestamp(START, UTC) + timedelta(seconds=seconds)


def point(key: str = "key", **fields: Any) -> UsagePoint:
    """
    Return a usage point that occurred at `START` unless told otherwise.
    """
    defaults: dict[str, Any] = {"event": "cloud-render", "host": None, "succeeded": True, "occurred_at": moment()}
    return UsagePoint(**{**defaults, "idempotency_key": key, **fields})


def points(number: int, prefix: str = "key") -> list[UsagePoint]:
    """
    Return *number* points, their keys numbered from 0.
    """
    return [point(f"{prefix}-{index}") for index in range(number)]


def keys(found: Iterable[StoredPoint | ClaimedPoint]) -> list[str]:
    """
    Return the keys of stored or claimed points.
    """
    return [each.point.idempotency_key for each in found]


def claim(outbox: Outbox, limit: int = 100, *, lease: float = 60.0) -> Sequence[ClaimedPoint]:
    """
    Claim what is due.
    """
    return outbox.claim(limit, lease=lease)


def spoil(outbox: Any, key: str, column: str = "event", value: str = "'render-of-tomorrow'") -> None:
    """
    Give a column of a row a value, as SQL, that no usage point has: by a version to come, by hand, or by damage.
    """
    sql = f"UPDATE {outbox._connection.tables.points} SET {column} = {value} WHERE idempotency_key = '{key}'"
    assert outbox._connection.change(sql, {}) == 1


def bring(outbox: Outbox, state: State, *keys: str) -> None:
    """
    Add points to an outbox in which nothing else is due, and bring them into *state*.
    """
    if state is State.DEFERRED:
        outbox.add([point(key, succeeded=None) for key in keys])
        return
    outbox.add([point(key) for key in keys])
    assert outbox.update([WAYS[state](claimed) for claimed in claim(outbox)]) == len(keys)


#: A call of each verb that needs no claim.
CALLS: dict[str, Callable[[Outbox], object]] = {
    "add": lambda outbox: outbox.add(points(2)),
    "claim": claim,
    "next_due": lambda outbox: outbox.next_due(),
    "counts": lambda outbox: outbox.counts(),
    "list": lambda outbox: outbox.list(),
    "retry": lambda outbox: outbox.retry(),
    "prune": lambda outbox: outbox.prune(0),
    "open": lambda outbox: outbox.open(),
}

#: A call of each verb that one statement of PostgreSQL answers, for points `"key-0"`, `"key-1"`, … some of which a test
#: has claimed and left in `claimed`.
BATCH_CALLS: dict[str, Callable[[Any], object]] = {
    "claim": claim,
    "update": lambda outbox: outbox.update([claimed.release() for claimed in outbox.claimed]),
    "next_due": lambda outbox: outbox.next_due(),
    "counts": lambda outbox: outbox.counts(),
    "get": lambda outbox: outbox.get("key-0"),
    "list": lambda outbox: outbox.list(State.PENDING),
    "retry": lambda outbox: outbox.retry(["key-0", "key-1"]),
    "discard": lambda outbox: outbox.discard(["key-0", "key-1"]),
    "pauses": lambda outbox: outbox.pauses(),
}

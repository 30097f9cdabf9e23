"""
The sandbox's ledger: the usage points it has counted, in memory or in a file that survives a restart.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...points import EVENTS, utc_now
from .journal import Journal
from .rules import CLASSIFICATIONS, Classification, PointRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPoint:
    """
    A usage point as the sandbox has counted it.

    Attributes:
        number: Position in the ledger, from 1.
        received_at: When it was counted, aware, in UTC.
        project: The licence key's kind and fingerprint, such as `rm_pub_…(5f3a9c1d2e)`, or `free-license`.
        event: As sent.
        host: As sent.
        succeeded: As sent.
        is_still: As sent.
        is_production: As sent.
        idempotency_key: As sent, or `None`.
        classification: `"billable"`, `"development"` or `"failed"`.
        repeats: How often its idempotency key came again.
    """

    number: int
    received_at: datetime
    project: str
    event: str
    host: str | None
    succeeded: bool
    is_still: bool
    is_production: bool
    idempotency_key: str | None
    classification: Classification
    repeats: int = 0

    @property
    def billable(self) -> bool:
        """
        Whether the point is billed.
        """
        return self.classification == "billable"

    def to_json(self) -> dict[str, Any]:
        """
        Return the point as JSON values.
        """
        return {**asdict(self), "received_at": self.received_at.isoformat()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> StoredPoint:
        """
        Build a point from what `to_json` returned.
        """
        values["received_at"] = datetime.fromisoformat(values["received_at"])
        return cls(**values)


class Ledger:
    """
    Counts usage points, each idempotency key once in its project; safe to use from any thread.

    Args:
        path: The file to keep the points in; `None`: memory only.
        now: The clock.

    Raises:
        ConfigurationError: The file holds something else than a ledger.
        OSError: The file cannot be read or written.
    """

    def __init__(self, path: Path | None = None, *, now: Callable[[], datetime] = utc_now) -> None:
        self.now = now
        self._changed = threading.Condition()
        self._reset()
        self._journal = None if path is None else Journal(path, self._replay)

    def close(self) -> None:
        """
        Close the file.
        """
        if self._journal is not None:
            self._journal.close()

    @property
    def requests(self) -> int:
        """
        How many requests to register a point arrived since the start or the last `clear()`, answered well or not.
        """
        return len(self._keys)

    def idempotency_keys(self) -> list[str | None]:
        """
        Return the idempotency key of each of those requests, in order, with repeats.
        """
        with self._changed:
            return list(self._keys)

    def points(self) -> list[StoredPoint]:
        """
        Return all points, oldest first.
        """
        with self._changed:
            return list(self._points)

    def counts(self, *, since: datetime | None = None) -> dict[str, dict[str, int]]:
        """
        Return the number of points by event and classification, those of zero included.
        """
        with self._changed:
            points = [p for p in self._points if since is None or p.received_at >= since]
        found = Counter((point.event, point.classification) for point in points)
        return {event: {word: found[event, word] for word in CLASSIFICATIONS} for event in EVENTS}

    def note_request(self, idempotency_key: str | None) -> None:
        """
        Remember that a request to register a point arrived.
        """
        with self._changed:
            self._keys.append(idempotency_key)
            self._changed.notify_all()

    def register(self, request: PointRequest) -> StoredPoint:
        """
        Count *request*, or return the point its idempotency key has counted before.
        """
        with self._changed:
            known = self._numbers.get((request.project, request.idempotency_key))
            if known is not None:
                self._append({"repeat": known})
                self._repeat(known)
            else:
                point = StoredPoint(
                    number=len(self._points) + 1,
                    received_at=self.now(),
                    classification=request.classification,
                    **asdict(request),
                )
                self._append({"point": point.to_json()})
                self._add(point)
                known = point.number
            self._changed.notify_all()
            return self._points[known - 1]

    def clear(self) -> None:
        """
        Forget all points and requests.
        """
        with self._changed:
            self._append({"clear": True})
            self._reset()
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """
        Wait until *condition* holds, at most *timeout* seconds; return whether it does.
        """
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def _reset(self) -> None:
        self._points: list[StoredPoint] = []
        self._numbers: dict[tuple[str, str | None], int] = {}
        self._keys: list[str | None] = []

    def _add(self, point: StoredPoint) -> None:
        self._points.append(point)
        if point.idempotency_key is not None:
            self._numbers[point.project, point.idempotency_key] = point.number

    def _repeat(self, number: int) -> None:
        point = self._points[number - 1]
        self._points[number - 1] = replace(point, repeats=point.repeats + 1)

    def _append(self, line: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.append(line)

    def _replay(self, line: dict[str, Any]) -> None:
        if "point" in line:
            self._add(StoredPoint.from_json(line["point"]))
        elif "repeat" in line:
            self._repeat(line["repeat"])
        elif line["clear"]:
            self._reset()

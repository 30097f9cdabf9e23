"""
The usage points that the sandbox has counted, in memory or in a file that survives a restart.

The file holds JSON lines and only grows. A line is complete when its line feed is there; a half-written last line
belongs to a request that never got its answer, and is dropped. Lines reach the operating system one by one, so they
survive `kill -9`, not a power cut (`tests/testing/sandbox/test_ledger.py` and `test_server.py` have these faults).
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any, Final

from ...errors import ConfigurationError
from ...points import EVENTS, utc_now
from .rules import CLASSIFICATIONS, PointRequest

LINE_STARTS: Final = (b'{"point": {', b'{"repeat": ', b'{"lost": ', b'{"clear": ')


@dataclass(frozen=True, kw_only=True, slots=True)
class CountedPoint(PointRequest):
    """
    A usage point that the sandbox has counted.

    Attributes:
        number: Position in the ledger, from 1.
        received_at: When it was counted, aware, in UTC.
        repeats: How often its idempotency key came again.
    """

    number: int
    received_at: datetime
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
        return {**asdict(self), "received_at": self.received_at.isoformat(), "classification": self.classification}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CountedPoint:
        """
        Build a point from what `to_json` returned.
        """
        del values["classification"]
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
        self._file: FileIO | None = None
        if path is not None:
            # Unbuffered: every line is one write call.
            self._file = path.open("ab", buffering=0)
            try:
                self._load(path, self._file)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """
        Close the file.
        """
        if self._file is not None:
            self._file.close()

    @property
    def requests(self) -> int:
        """
        How many requests to register a point arrived since the start or the last `clear()`, with any answer.
        """
        return len(self._keys)

    def idempotency_keys(self) -> list[str | None]:
        """
        Return the idempotency key of each of those requests, in order, with repeats.
        """
        with self._changed:
            return list(self._keys)

    def points(self) -> list[CountedPoint]:
        """
        Return all points, oldest first.
        """
        with self._changed:
            return [point for point in self._points if point.number not in self._lost]

    def counts(self, *, since: datetime | None = None) -> dict[str, dict[str, int]]:
        """
        Return the number of points by event and classification, including zeros.
        """
        points = [point for point in self.points() if since is None or point.received_at >= since]
        counts = Counter((point.event, point.classification) for point in points)
        return {event: {word: counts[event, word] for word in CLASSIFICATIONS} for event in EVENTS}

    def note_request(self, idempotency_key: str | None) -> None:
        """
        Remember that a request to register a point arrived.
        """
        with self._changed:
            self._keys.append(idempotency_key)
            self._changed.notify_all()

    def register(self, request: PointRequest) -> CountedPoint:
        """
        Count *request*, or return the point that its idempotency key has counted before.
        """
        with self._changed:
            number = self._numbers.get((request.project, request.idempotency_key))
            if number is not None:
                self._write({"repeat": number})
                self._repeat(number)
            else:
                number = len(self._points) + 1
                point = CountedPoint(number=number, received_at=self.now(), **asdict(request))
                self._write({"point": point.to_json()})
                self._add(point)
            self._changed.notify_all()
            return self._points[number - 1]

    def lose(self, idempotency_key: str) -> int:
        """
        Count the points with this key no longer, and return how many these were.
        """
        with self._changed:
            numbers = [point.number for point in self._points if point.idempotency_key == idempotency_key]
            numbers = [number for number in numbers if number not in self._lost]
            for number in numbers:
                self._write({"lost": number})
                self._lose(number)
            self._changed.notify_all()
            return len(numbers)

    def clear(self) -> None:
        """
        Forget all points and requests.
        """
        with self._changed:
            self._write({"clear": True})
            self._reset()
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """
        Wait until *condition* holds, at most *timeout* seconds; return whether it does.
        """
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def _reset(self) -> None:
        self._points: list[CountedPoint] = []
        self._numbers: dict[tuple[str, str | None], int] = {}
        self._keys: list[str | None] = []
        self._lost: set[int] = set()

    def _add(self, point: CountedPoint) -> None:
        self._points.append(point)
        if point.idempotency_key is not None:
            self._numbers[point.project, point.idempotency_key] = point.number

    def _repeat(self, number: int) -> None:
        point = self._points[number - 1]
        self._points[number - 1] = replace(point, repeats=point.repeats + 1)

    def _lose(self, number: int) -> None:
        point = self._points[number - 1]
        self._lost.add(number)
        self._numbers.pop((point.project, point.idempotency_key), None)

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line).encode() + b"\n")

    def _load(self, path: Path, file: FileIO) -> None:
        *lines, rest = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                self._replay(json.loads(line))
            except (ValueError, TypeError, KeyError, IndexError) as error:
                msg = f"file: line {number} of {path} is not a line of a sandbox ledger"
                raise ConfigurationError(msg) from error
        # The file of another program must never be cut.
        if not any(start.startswith(rest[: len(start)]) for start in LINE_STARTS):
            msg = f"file: {path} is not a sandbox ledger"
            raise ConfigurationError(msg)
        file.truncate(sum(len(line) + 1 for line in lines))

    def _replay(self, line: dict[str, Any]) -> None:
        if "point" in line:
            self._add(CountedPoint.from_json(line["point"]))
        elif "repeat" in line:
            self._repeat(line["repeat"])
        elif "lost" in line:
            self._lose(line["lost"])
        elif line["clear"]:
            self._reset()

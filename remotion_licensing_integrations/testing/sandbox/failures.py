"""
How the sandbox misbehaves on request: one frozen description, and the switch that holds the current one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from ...errors import ConfigurationError

Mode = Literal["500", "429", "400", "422", "refused", "reset", "hang", "key", "html"]
MODES: Final[tuple[str, ...]] = get_args(Mode)
#: Modes that tell the client nothing about whether its point was counted.
AMBIGUOUS: Final = ("500", "reset", "hang", "html")

MAX_LATENCY_MS: Final = 600_000  # ten minutes
MAX_RETRY_AFTER: Final = 86_400  # seconds
MAX_FIRST: Final = 1_000_000  # requests

_WORDS: Final = {
    "500": "HTTP 500",
    "429": "HTTP 429",
    "400": "HTTP 400, point refused",
    "422": "HTTP 422, point refused",
    "refused": "success: false, point refused",
    "reset": "connection reset",
    "hang": "no answer",
    "key": "every key refused",
    "html": "HTML instead of JSON",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """
    What happens to a request instead of the normal answer; the fields are the arguments of `Sandbox.set_failure`.

    Raises:
        ConfigurationError: A value is out of range, or does not go with `mode`.
    """

    mode: Mode | None = None
    latency_ms: int = 0
    retry_after: int | None = 5
    first: int | None = None
    count_first: bool = False

    def __post_init__(self) -> None:
        if self.mode is not None and self.mode not in MODES:
            _refuse("mode", self.mode, f"one of {', '.join(MODES)}, or None")
        _check_number("latency_ms", self.latency_ms, 0, MAX_LATENCY_MS)
        if self.retry_after is not None:
            _check_number("retry_after", self.retry_after, 0, MAX_RETRY_AFTER)
        if self.first is not None:
            _check_number("first", self.first, 1, MAX_FIRST)
        if not isinstance(self.count_first, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - JSON comes here
            _refuse("count_first", self.count_first, "True or False")
        if self.count_first and self.mode not in AMBIGUOUS:
            _refuse("count_first", self.count_first, f"False unless mode is one of {', '.join(AMBIGUOUS)}")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Failure:
        """
        Build a failure from keywords that arrived as JSON.

        Raises:
            ConfigurationError: A name is unknown or a value is bad.
        """
        known = {field.name for field in fields(cls)}
        for name in values.keys() - known:
            _refuse(name, values[name], f"only {', '.join(sorted(known))}")
        return cls(**values)

    @property
    def counts(self) -> bool:
        """
        Whether a request that meets this failure is counted.
        """
        return self.mode is None or self.count_first

    def __str__(self) -> str:
        parts = [_WORDS[self.mode]] if self.mode else []
        if self.mode == "429" and self.retry_after is not None:
            parts[0] += f", Retry-After {self.retry_after} s"
        if self.latency_ms:
            parts.append(f"{self.latency_ms} ms late")
        if self.count_first:
            parts.append("after counting the point")
        if not parts:
            return "Answering normally"
        if self.first:
            parts.append("for the next request" if self.first == 1 else f"for the next {self.first} requests")
        return f"{'Failing' if self.mode else 'Slow'}: {', '.join(parts)}"


class FailureSwitch:
    """
    The failure in force; safe to use from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current = Failure()

    @property
    def current(self) -> Failure:
        """
        The failure that the next request meets.
        """
        return self._current

    def set(self, failure: Failure) -> None:
        """
        Put *failure* in force from the next request on.
        """
        with self._lock:
            self._current = failure

    def take(self) -> Failure:
        """
        Return the failure for one request, and recover when it was the last one of `first`.
        """
        with self._lock:
            failure = self._current
            if failure.first is not None:
                self._current = replace(failure, first=failure.first - 1) if failure.first > 1 else Failure()
            return failure


def _check_number(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        _refuse(name, value, f"a whole number from {low:,} to {high:,}")


def _refuse(name: str, value: object, expected: str) -> None:
    msg = f"{name}: expected {expected}, got {value!r:.80}"
    raise ConfigurationError(msg)

"""
Remembers which deferrals have been forgotten before they came.

Fault: a request tells its job's token before it stores the deferred point, so a fast job (an eager task, a thread) can
end without an outcome first. The deferred point would then wait for an outcome that never comes
(tests/outbox/test_contract.py::test_deferral_forgotten_before_it_comes).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from ..points import UsagePoint
from .values import State

MAX_REMEMBERED: Final = 1_000  # keys; each waits for a request of this process that is about to end


class Forgotten:
    """
    The keys of deferrals that one outbox object was told to discard and did not have; the oldest are dropped.
    """

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}

    def note(self, keys: Sequence[str], states: Collection[State], discarded: int) -> None:
        """
        Note that *keys* in *states* were to be discarded, and how many were; only deferrals are remembered.
        """
        if set(states) == {State.DEFERRED} and discarded < len(keys):
            self._keys.update(dict.fromkeys(keys))
            for key in list(self._keys)[:-MAX_REMEMBERED]:
                self._keys.pop(key, None)

    def leave_out(self, points: Sequence[UsagePoint]) -> Sequence[UsagePoint]:
        """
        Return *points* without deferrals that were forgotten.
        """
        if not self._keys:
            return points
        return [point for point in points if point.succeeded is not None or point.idempotency_key not in self._keys]

    def drop(self, points: Iterable[UsagePoint]) -> None:
        """
        Forget the keys of *points*, which were added or left out: a later deferral of the same key is a new one.
        """
        for point in points if self._keys else ():
            self._keys.pop(point.idempotency_key, None)

"""
Tells the app what has become of its points, and counts it; neither can break delivery.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypedDict

from .._support.log import logger
from ..errors import OutboxError
from ..outbox import Change, Outbox, State
from ..points import Registration, UsagePoint


class Hooks(TypedDict, total=False):
    """
    What to call from the delivering thread, once the outbox has stored what it tells.

    A hook must not wait: the next points wait for it. What it raises is logged once.

    Attributes:
        on_registered: Called when the API has accepted a point, with the point and the API's answer.
        on_rejected: Called when the API has refused a point for good, with the point and the reason.
        on_paused: Called when a pause of delivery begins, with the reason.
    """

    on_registered: Callable[[UsagePoint, Registration], object]
    on_rejected: Callable[[UsagePoint, str], object]
    on_paused: Callable[[str], object]


#: What an attempt led to, by the state of its point.
RESULTS: Final = {
    State.REGISTERED: "registered",
    State.REJECTED: "rejected",
    State.HELD: "held",
    State.PENDING: "failed",
}


class Teller:
    """
    Calls *hooks* for the changes of one deliverer.

    Attributes:
        attempts: How many points were sent, by event and result.
        registered: How many points were registered, by event and classification.
    """

    def __init__(self, outbox: Outbox, hooks: Hooks) -> None:
        self._outbox = outbox
        self._hooks = hooks
        self._failed: set[str] = set()
        self._paused: str | None = None
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.registered: Counter[tuple[str, str]] = Counter()

    def tell(self, changes: Sequence[Change], in_effect: int) -> None:
        """
        Tell of *changes*, of which so many took effect in the outbox.
        """
        for change in changes:
            point, answer = change.claimed.point, change.registration
            # A release without an error was not sent.
            if change.is_attempt or (change.error is not None and change.state is State.PENDING):
                self.attempts[point.event, RESULTS[change.state]] += 1
            if answer is not None:
                self.registered[point.event, answer.classification or "unknown"] += 1
        if "on_registered" in self._hooks or "on_rejected" in self._hooks:
            for change in changes:
                if in_effect == len(changes) or self._took_effect(change):
                    self._tell(change)

    def tell_pause(self, reason: str | None) -> None:
        """
        Tell that delivery is paused for *reason*, once; `None` when it is not.
        """
        if reason is not None and reason != self._paused:
            self._call("on_paused", reason)
        self._paused = reason

    def _tell(self, change: Change) -> None:
        if change.registration is not None:
            self._call("on_registered", change.claimed.point, change.registration)
        elif change.state is State.REJECTED:
            self._call("on_rejected", change.claimed.point, change.error or "")

    def _took_effect(self, change: Change) -> bool:
        # A lease has run out, and another deliverer has claimed the point since: that one tells what becomes of it.
        stored = None
        with suppress(OutboxError):
            stored = self._outbox.get(change.claimed.point.idempotency_key)
        return stored is not None and (stored.state, stored.attempts) == (change.state, change.claimed.attempts)

    def _call(self, name: str, *arguments: Any) -> None:
        hook = self._hooks.get(name)
        if hook is None:
            return
        try:
            hook(*arguments)  # type: ignore[operator] # mypy takes the values of a TypedDict for objects
        except Exception as error:  # noqa: BLE001 - the app's own code must not break delivery
            if name not in self._failed:
                self._failed.add(name)
                message = "The hook %s failed; further failures are not logged."
                logger.error(message, name, exc_info=error, extra={"action": "hook_failed"})

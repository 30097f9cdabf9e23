"""
The signals of delivery, sent by the process and from the thread that delivers; a receiver must not wait.

`usage_registered` (point, registration), `usage_rejected` (point, reason) and `delivery_paused` (reason) follow the
hooks of `UsageRecorder`. What a receiver raises, Django logs; the others are still called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.db import close_old_connections
from django.dispatch import Signal

from ..delivery import Hooks

usage_registered: Final = Signal()
usage_rejected: Final = Signal()
delivery_paused: Final = Signal()


def _sender(signal: Signal, *names: str) -> Callable[..., None]:
    def send(*values: Any) -> None:
        if signal.has_listeners():
            # As before a request: a receiver may use a connection of this thread, which may be lost.
            close_old_connections()
            signal.send_robust(sender=None, **dict(zip(names, values, strict=True)))

    return send


#: The hooks of a project's recorder.
HOOKS: Final[Hooks] = {
    "on_registered": _sender(usage_registered, "point", "registration"),
    "on_rejected": _sender(usage_rejected, "point", "reason"),
    "on_paused": _sender(delivery_paused, "reason"),
}

"""
What a recorder takes: a usage point to store, or a deferred one to forget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from .._support.log import logger
from ..outbox import Outbox, State
from ..points import UsagePoint, log_point


@dataclass(frozen=True, slots=True)
class Forget:
    """
    A request to delete a deferred point whose work has ended without an outcome to record.
    """

    idempotency_key: str


#: What a recorder takes.
Entry = UsagePoint | Forget
#: Called after futures have ended, once for all that end together.
Wake = Callable[[], object]


def ended(wake: Wake | None, *, committed: bool) -> Future[bool]:
    """
    Return a future that has ended already, as `Writer.submit` does.
    """
    future: Future[bool] = Future()
    future.set_result(committed)
    if wake is not None:
        wake()
    return future


def store_now(outbox: Outbox, entry: Entry, *, spill: Outbox | None = None) -> bool:
    """
    Commit *entry* from the calling thread, to *spill* if need be, or log it; return whether it is committed.
    """
    for store in (outbox, spill):
        # The entry must survive all that a store may do.
        with suppress(Exception):
            if store is not None:
                store_entries(store, [entry])
                return True
    log_entry(entry)
    return False


def store_entries(outbox: Outbox, entries: Sequence[Entry]) -> None:
    """
    Store *entries*, which are all points or all deferrals to forget.
    """
    points = [entry for entry in entries if isinstance(entry, UsagePoint)]
    if points:
        outbox.add(points)
    else:
        outbox.discard([entry.idempotency_key for entry in entries], {State.DEFERRED})


def log_entry(entry: Entry) -> None:
    """
    Leave *entry* to the log, as the last resort.
    """
    if isinstance(entry, UsagePoint):
        log_point(entry)
    else:
        # It stays visible as deferred, until a person decides.
        logger.error(
            "Deferred usage point %s could not be removed.", entry.idempotency_key, extra={"action": "outbox_refused"}
        )

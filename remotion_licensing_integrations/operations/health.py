"""
Whether points are safe and on their way, for a readiness or status page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..delivery import PASSING
from ..errors import OutboxError
from ..points import utc_now
from ..recording import UsageRecorder, default_recorder


@dataclass(frozen=True, slots=True)
class Health:
    """
    The health of a recorder.

    Attributes:
        ok: Whether no person has to act.
        reasons: What is wrong, a sentence each.
    """

    ok: bool
    reasons: tuple[str, ...] = ()


def healthy(recorder: UsageRecorder | None = None, *, max_age: float | None = None) -> Health:
    """
    Return whether the points of *recorder*, by default the process's, are safe and on their way.

    It asks the outbox, so call it from a thread. Show it on a page that people look at. A licensing problem is no
    reason to take an app out of rotation: its conversions go on, and its points are kept.

    Args:
        recorder: Whose points.
        max_age: Seconds that a point may be pending, by default `settings.max_lag`.
    """
    recorder = recorder or default_recorder()
    reasons = (*_of_process(recorder), *_of_outbox(recorder, recorder.settings.max_lag if max_age is None else max_age))
    return Health(not reasons, reasons)


def _of_process(recorder: UsageRecorder) -> Iterator[str]:
    counts = recorder.process_counts()
    if not recorder.enabled:
        yield "No licence key is set: nothing is recorded."
    if counts.refused:
        yield f"Usage points are in memory only ({counts.waiting}): neither the outbox nor the spill takes them."
    if counts.logged:
        yield f"Usage points are in the log only ({counts.logged}): `remotion-licensing import` reads them."
    for finding in () if recorder.spill is None else recorder.spill.examine():
        if finding.level == "error":
            yield f"The spill cannot be used: {finding.text}"


def _of_outbox(recorder: UsageRecorder, max_age: float) -> Iterator[str]:
    try:
        counts, pauses = recorder.outbox.counts(), recorder.outbox.pauses()
    except OutboxError as error:
        yield f"The outbox refuses: {error}"
        return
    for pause in pauses:
        # An outage ends by itself, and shows in the age of the points.
        if not pause.reason.startswith(PASSING):
            yield f"Delivery has been paused since {pause.since:%Y-%m-%d %H:%M} UTC: {pause.reason}"
    oldest = counts.oldest_pending
    age = 0.0 if oldest is None else (utc_now() - oldest).total_seconds()
    if age > max_age:
        yield f"The oldest of {counts.pending} pending usage points has waited for {age:.0f} s."

"""
Looks at the outbox and at the spill: whether they can be used, and what waits in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from ...errors import OutboxError
from ...outbox import EXPECTED_FOR, Finding, MemoryOutbox, Outbox
from ...points import utc_now
from ...recording import UsageRecorder
from ...settings import ENVIRONMENT
from ..inspect import count_foreign, describe_foreign, describe_pause
from ..output import plural
from .clock import compare_clocks

_STALE: Final = timedelta(hours=1)


def examine_outbox(recorder: UsageRecorder) -> Iterable[Finding]:
    """
    Look at the outbox without creating it.
    """
    outbox, findings = recorder.outbox, list[Finding]()
    try:
        findings += outbox.examine()
        if not outbox.exists():
            # Not created here: it would belong to this user, who need not be the app's user.
            yield from findings or [_missing(outbox)]
            return
        counts, pauses = outbox.counts(), outbox.pauses()
        clock, oldest, others = outbox.now(), outbox.oldest(), count_foreign(recorder)
    except OutboxError as error:
        yield Finding("error", "outbox_refuses", str(error))
        yield from findings
        return
    now, pending = utc_now(), plural(counts.pending, "point")
    yield Finding("ok", "outbox_usable", f"The outbox {outbox!r} can be used; {pending} pending.")
    if oldest is not None:
        yield Finding(
            "ok",
            "outbox_age",
            f"Its first point is of {oldest:%Y-%m-%d}. If the app counted before, its outbox was another or is lost.",
        )
    if isinstance(outbox, MemoryOutbox):
        yield Finding("warning", "outbox_in_memory", "The outbox is in memory: its points end with the process.")
    yield from compare_clocks("the outbox's", clock)
    for fingerprint, number in others.items():
        yield Finding("warning", "points_for_other_keys", describe_foreign(fingerprint, number))
    for pause in pauses:
        yield Finding("error", "delivery_paused", f"Delivery is paused: {describe_pause(pause)}")
    if counts.oldest_pending and now - counts.oldest_pending > _STALE:
        yield Finding(
            "warning",
            "points_waiting",
            f"A point has been pending since {counts.oldest_pending:%Y-%m-%d %H:%M}Z; is delivery running?",
        )
    if counts.rejected or counts.held:
        yield Finding(
            "warning",
            "points_stopped",
            f"Points rejected: {counts.rejected}, held: {counts.held}; see `list --state`.",
        )
    if counts.oldest_deferred and now - counts.oldest_deferred > EXPECTED_FOR:
        yield Finding(
            "warning",
            "points_deferred",
            "Some points have been deferred for more than a day; see `status`. Has their work ended?",
        )
    yield from findings


def examine_spill(recorder: UsageRecorder) -> Iterable[Finding]:
    """
    Look at the spill, and count the points in it.
    """
    spill = recorder.spill
    if recorder.settings.spill == "off":
        yield Finding(
            "warning",
            "spill_off",
            'spill is "off": while the outbox refuses points, they are in memory only, and a process that is killed '
            "loses them.",
        )
    if spill is None:
        return
    try:
        spilled = recorder.count_spilled()
    except OutboxError as error:
        yield Finding("error", "spill_refuses", f"The spill cannot be used: {error}")
        return
    yield from spill.examine()
    if spilled:
        yield Finding(
            "warning",
            "points_spilled",
            f"{plural(spilled, 'point')} in the spill {spill!r} until the outbox accepts them.",
        )


def _missing(outbox: Outbox) -> Finding:
    return Finding(
        "warning",
        "outbox_missing",
        f"{outbox!r} does not exist yet; the first point creates it. If the app has recorded points, it uses another "
        f"outbox: see {ENVIRONMENT['outbox']}.",
    )

"""
The command that delivers usage points: `deliver`.
"""

from __future__ import annotations

import argparse
from contextlib import closing

from .._support.signals import stop_signals
from ..delivery import Deliverer, Worker
from ..errors import ConfigurationError, OutboxError
from ..outbox import Outbox
from ..recording import Spill, UsageRecorder
from ..settings import SECONDS_PER_DAY
from .command import argument, command
from .output import answer, plural, progress, write


@command(
    "deliver",
    "deliver usage points until it is stopped",
    argument("--once", action="store_true", help="deliver what is due now, then end"),
)
def deliver(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Deliver once, or until SIGINT or SIGTERM; status 1 when delivery is paused at the end.
    """
    if not recorder.enabled:
        msg = "license_key: nothing can be delivered; set REMOTION_LICENSE_KEY or REMOTION_PRIVATE_LICENSE_KEY"
        raise ConfigurationError(msg)
    if recorder.settings.delivery == "off":
        msg = 'delivery: it is "off", so nothing is sent; set it to "external" to deliver with this command'
        raise ConfigurationError(msg)
    if arguments.once and recorder.spill is not None:
        Spill(recorder.outbox, recorder.spill).move()
    registered = 0
    with progress("Delivering", _count_pending(recorder.outbox)) as advance:

        def note(count: int) -> None:
            nonlocal registered
            registered += count
            advance(count)

        with closing(Deliverer(recorder.outbox, recorder.settings, keys=recorder.keys, on_step=note)) as deliverer:
            if arguments.once:
                deliverer.deliver()
            else:
                _deliver_until_stopped(arguments, recorder, deliverer)
            reason = deliverer.pause_reason
    lines = [f"{plural(registered, 'usage point')} registered.", *([f"Paused: {reason}"] if reason else [])]
    answer(arguments, {"registered": registered, "paused": reason}, *lines)
    return 1 if reason else 0


def _count_pending(outbox: Outbox) -> int | None:
    try:
        return outbox.counts().pending or None
    except OutboxError:
        return None  # an outbox that is away now may be back in a moment


def _deliver_until_stopped(arguments: argparse.Namespace, recorder: UsageRecorder, deliverer: Deliverer) -> None:
    worker = Worker(recorder.outbox, deliverer, retention=recorder.settings.retention * SECONDS_PER_DAY)
    spill = None if recorder.spill is None else Spill(recorder.outbox, recorder.spill, on_move=worker.wake)
    with stop_signals() as wait:
        worker.start()
        if spill is not None:
            spill.start()
        if not arguments.json:
            write(f"Delivering usage points from {recorder.outbox!r}; Ctrl+C ends it.")
        wait()
        if spill is not None:
            spill.stop(recorder.settings.shutdown_timeout)
        worker.stop(recorder.settings.shutdown_timeout)

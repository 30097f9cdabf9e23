"""
The command that delivers usage points: `deliver`.
"""

from __future__ import annotations

import argparse
from contextlib import closing

from .._support.signals import stop_signals
from ..delivery import Deliverer, Worker
from ..errors import ConfigurationError
from ..recording import Spill, UsageRecorder
from ..settings import SECONDS_PER_DAY
from .command import argument, command, plural, write


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
    with closing(Deliverer(recorder.outbox, recorder.settings, keys=recorder.keys)) as deliverer:
        if arguments.once:
            if recorder.spill is not None:
                Spill(recorder.outbox, recorder.spill).move()
            write(f"{plural(deliverer.deliver(), 'usage point')} registered.")
        else:
            _deliver_until_stopped(recorder, deliverer)
        if deliverer.pause_reason is not None:
            write(f"Paused: {deliverer.pause_reason}")
            return 1
    return 0


def _deliver_until_stopped(recorder: UsageRecorder, deliverer: Deliverer) -> None:
    worker = Worker(recorder.outbox, deliverer, retention=recorder.settings.retention * SECONDS_PER_DAY)
    spill = None if recorder.spill is None else Spill(recorder.outbox, recorder.spill, on_move=worker.wake)
    with stop_signals() as wait:
        worker.start()
        if spill is not None:
            spill.start()
        write(f"Delivering usage points from {recorder.outbox!r}; Ctrl+C ends it.")
        wait()
        if spill is not None:
            spill.stop(recorder.settings.shutdown_timeout)
        worker.stop(recorder.settings.shutdown_timeout)

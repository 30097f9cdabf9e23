"""
A process that leaves points in its spill, or moves what it finds there, until its input ends or a test kills it.

`python spilling_process.py OUTBOX SPILL leave POINTS`: the outbox refuses; prints the keys of the points in the spill.
`… halt BATCH before|after`: stops where that batch is about to be stored, or has been, and says so.
`… move`: moves all, and delivers.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from typing import Final, NoReturn

from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder
from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import ServerOutbox
from remotion_licensing_integrations.recording import spill

PATIENCE: Final = 15.0  # seconds
spill.MAX_MOVED = 4  # type: ignore[misc] # a batch of few points, so that some points are many batches


class RefusingOutbox(ServerOutbox):
    """
    Takes no points.
    """

    def add(self, points: Sequence[UsagePoint]) -> None:  # noqa: D102 - the contract says it
        msg = "refused"
        raise OutboxError(msg)


class HaltingOutbox(ServerOutbox):
    """
    Halts its process at one of its batches.
    """

    batch: int
    when: str

    def add(self, points: Sequence[UsagePoint]) -> None:  # noqa: D102 - the contract says it
        self.batch -= 1
        if self.batch == 0 and self.when == "before":
            halt()
        super().add(points)
        if self.batch == 0:
            halt()


def halt() -> NoReturn:
    say("halted")
    threading.Event().wait()
    raise AssertionError


def say(value: object) -> None:
    """
    Tell the test something.
    """
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


def main() -> None:
    """
    Do what the command line says.
    """
    url, file, what, *words = sys.argv[1:]
    outbox = {"leave": RefusingOutbox, "halt": HaltingOutbox, "move": ServerOutbox}[what](url)
    settings = Settings.from_env(outbox=url, spill=file, delivery="worker" if what == "move" else "off")
    recorder = UsageRecorder(settings, outbox=outbox)
    if isinstance(outbox, HaltingOutbox):
        outbox.batch, outbox.when = int(words[0]), words[1]
    if what == "leave":
        points = [UsagePoint(event="cloud-render", host=None, succeeded=True) for _ in range(int(words[0]))]
        assert all(recorder.record(point, wait=PATIENCE) for point in points)
        say([point.idempotency_key for point in points])
    else:
        recorder.start()
    sys.stdin.read()
    recorder.stop()


if __name__ == "__main__":
    main()

"""
Programs of this version of the package and of a newer one, which has one more migration: `_programs.py` for upgrades.

Each is run with `older` or `newer`, which says what version it is of.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from remotion_licensing_integrations.outbox import open_outbox
from remotion_licensing_integrations.outbox.statements import MIGRATIONS
from remotion_licensing_integrations.recording import spill as spill_module
from remotion_licensing_integrations.recording import writer
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import Settings
from tests._delivery import KEY
from tests._outboxes import PATIENCE, new_point
from tests.outbox import _programs
from tests.outbox._programs import say

#: The migration of the newer version, as the rules for migrations have them.
COLUMN = "ALTER TABLE remotion_usage_point ADD COLUMN colour VARCHAR(20)"
INDEX = "CREATE INDEX remotion_usage_point_colour ON remotion_usage_point (colour)"
TABLE = "CREATE TABLE IF NOT EXISTS remotion_colour (name VARCHAR(20) NOT NULL PRIMARY KEY)"
NEWER = (COLUMN, INDEX, TABLE)

start = partial(_programs.start, program=__file__)
run = partial(_programs.run, program=__file__)


class Deadly(tuple[str, ...]):
    """
    A migration that kills its process after its first statement.
    """

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        yield self[0]
        os.kill(os.getpid(), signal.SIGKILL)


def add_migration(migration: tuple[str, ...] = NEWER) -> None:
    """
    Make this process one of the newer version, whichever the kind of its stores.
    """
    for database, known in MIGRATIONS.items():
        MIGRATIONS[database] = (*known, migration)


def app(place: str, spill: str, api: str) -> None:
    """
    Record as many points as each line says and deliver what is due, until the input ends.

    Prints keys and whether all were committed for each line, and at the end what was logged.
    """
    writer.SILENCE = PATIENCE  # a slow machine is no silent outbox
    spill_module.LOOK_AFTER = 0.1
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("remotion_licensing_integrations").addHandler(handler)
    recorder = UsageRecorder(Settings(license_key=KEY, outbox=place, spill=spill, base_url=api))
    recorder.start()
    say("ready")
    for line in sys.stdin:
        keys = [f"{os.getpid()}-{line.strip()}-{number}" for number in range(20)]
        committed = [recorder.record(new_point(key), wait=PATIENCE) for key in keys]
        say([keys, all(committed)])
    recorder.stop(PATIENCE)
    say(messages)


def open_and_die(place: str) -> None:
    """
    End by `SIGKILL` after the first statement of the migration.
    """
    add_migration(Deadly(NEWER))
    open_outbox(place).open()


def main(version: str, name: str, *arguments: str) -> None:
    """
    Run a program as one of *version*.
    """
    if version == "newer":
        add_migration()
    programs: dict[str, Any] = {each.__name__: each for each in (app, open_and_die, _programs.open_at_once)}
    programs[name](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])

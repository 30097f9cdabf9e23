"""
The stores that the settings name: the outbox and the spill.
"""

from __future__ import annotations

from .._support.testrun import is_test_run
from ..outbox import Outbox, open_outbox
from ..settings import DEFAULT_OUTBOX, DEFAULT_SPILL, Settings


def open_default(settings: Settings) -> Outbox:
    """
    Return the outbox; in a test run the default one is in memory.
    """
    # Points of tests must not stay in the developer's directory until an app delivers them.
    return open_outbox("memory://" if settings.outbox == DEFAULT_OUTBOX and is_test_run() else settings.outbox)


def open_spill(settings: Settings, outbox: Outbox) -> Outbox | None:
    """
    Return the file that keeps points while *outbox* refuses; `None` when there is none. Nothing is created yet.
    """
    from ..outbox import MemoryOutbox  # noqa: PLC0415 - importing an adapter does without it

    is_default = settings.spill == DEFAULT_SPILL
    if settings.spill == "off" or (is_default and (isinstance(outbox, MemoryOutbox) or is_test_run())):
        return None
    # A newer version may have migrated this file as well as the outbox, which refuses this version then: there is no
    # other place for points, and migrations keep the statements of older versions working
    # (tests/outbox/test_upgrades.py::test_older_process_that_starts_later).
    return open_outbox(settings.spill, takes_newer=True)

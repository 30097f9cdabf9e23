"""
Has a usage point committed to the outbox while its request waits, and never for long.

In comes a finished or deferred point, from any thread or event loop; out goes whether the outbox has committed it.
"""

from .counts import ProcessCounts, RecorderCounts
from .default import (
    SharedRecorder,
    default_recorder,
    make_recorder,
    null_recorder,
    offer_default_recorder,
    provide_default_recorder,
    set_default_recorder,
)
from .entries import Entry, Forget, store_now
from .keeper import Keeper
from .recorder import UsageRecorder
from .spill import Spill

__all__ = [
    "Entry",
    "Forget",
    "Keeper",
    "ProcessCounts",
    "RecorderCounts",
    "SharedRecorder",
    "Spill",
    "UsageRecorder",
    "default_recorder",
    "make_recorder",
    "null_recorder",
    "offer_default_recorder",
    "provide_default_recorder",
    "set_default_recorder",
    "store_now",
]

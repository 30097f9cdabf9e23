"""
Where a usage point becomes durable.

In comes a finished or deferred point, from any thread or event loop; out goes the word that the outbox has it.
"""

from .default import ask_for_default_recorder, default_recorder, offer_default_recorder, set_default_recorder
from .recorder import RecorderCounts, UsageRecorder
from .writer import store_or_log

__all__ = [
    "RecorderCounts",
    "UsageRecorder",
    "ask_for_default_recorder",
    "default_recorder",
    "offer_default_recorder",
    "set_default_recorder",
    "store_or_log",
]

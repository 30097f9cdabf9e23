"""
What counts: decorators for endpoints and jobs, a block around a call, and the pending point in between.

In comes a request, a job or a block of code and how it ended; out goes a usage point, deferred or with its outcome, to
the recorder.
"""

from .block import conversion, find_recorder
from .endpoint import count_decorated, marked_options, usage_point
from .job import conversion_job
from .pending import CURRENT, PendingUsage, Settle, current_usage
from .rules import EndpointRules

__all__ = [
    "CURRENT",
    "EndpointRules",
    "PendingUsage",
    "Settle",
    "conversion",
    "conversion_job",
    "count_decorated",
    "current_usage",
    "find_recorder",
    "marked_options",
    "usage_point",
]

"""
What counts: decorators for endpoints and jobs, a block around a call, the pending point in between, and limits.

In comes a request, a job or a block of code and how it ended; out goes a usage point, deferred or with its outcome, to
the recorder. An adapter subclasses `Settlement` (its method and its host), sets `CURRENT` while the app runs, calls
`record` or `arecord` with how the response ended, and then `deliver_inline` where the recorder says so.
"""

from typing import TYPE_CHECKING

from .._support.lazy import load_later
from .block import conversion, find_recorder
from .endpoint import adopt_misplaced, count_decorated, decorated_options, marked_options, usage_point
from .job import conversion_job
from .length import body_length
from .mistakes import log_crash
from .pending import PendingUsage, current_usage
from .rules import EndpointRules
from .settlement import CURRENT, Ending, Settlement, find_settlement

if TYPE_CHECKING:
    from .limits import LimitOptions, LimitReached, UsageLimit
else:
    __getattr__, __dir__ = load_later(__name__, {".limits": ("LimitOptions", "LimitReached", "UsageLimit")})

__all__ = [
    "CURRENT",
    "Ending",
    "EndpointRules",
    "LimitOptions",
    "LimitReached",
    "PendingUsage",
    "Settlement",
    "UsageLimit",
    "adopt_misplaced",
    "body_length",
    "conversion",
    "conversion_job",
    "count_decorated",
    "current_usage",
    "decorated_options",
    "find_recorder",
    "find_settlement",
    "log_crash",
    "marked_options",
    "usage_point",
]

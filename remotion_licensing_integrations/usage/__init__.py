"""
What an app's own code touches: decorators for endpoints and jobs, a block around a call, and the point of the moment.
"""

from .block import conversion
from .endpoint import usage_point
from .job import conversion_job
from .pending import PendingUsage, current_usage

#: `usage.point(…)` reads well where the module is imported by name.
point = conversion

__all__ = ["PendingUsage", "conversion", "conversion_job", "current_usage", "point", "usage_point"]

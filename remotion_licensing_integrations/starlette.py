"""
For Starlette apps: `Middleware(UsageMiddleware, license_key=…)` and `@usage_point("cloud-render")`.
"""

from __future__ import annotations

from .asgi import UsageMiddleware
from .usage import conversion, conversion_job, current_usage, usage_point

__all__ = ["UsageMiddleware", "conversion", "conversion_job", "current_usage", "usage_point"]

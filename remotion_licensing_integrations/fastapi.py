"""
For FastAPI apps: `app.add_middleware(UsageMiddleware, license_key=…)` and `@usage_point("cloud-render")`.
"""

from __future__ import annotations

from .starlette import UsageMiddleware, conversion, conversion_job, current_usage, remotion_webhook, usage_point

__all__ = ["UsageMiddleware", "conversion", "conversion_job", "current_usage", "remotion_webhook", "usage_point"]

"""
For Django projects: an app config, a middleware, and the decorator that every framework shares.

Add `"remotion_licensing_integrations.django"` to `INSTALLED_APPS`,
`"remotion_licensing_integrations.django.middleware.UsageMiddleware"` to `MIDDLEWARE`, and the dict
`REMOTION_LICENSING` to the settings.
"""

from __future__ import annotations

from ..usage import LimitReached, conversion, conversion_job, current_usage, usage_point
from .limits import usage_limit

__all__ = ["LimitReached", "conversion", "conversion_job", "current_usage", "usage_limit", "usage_point"]

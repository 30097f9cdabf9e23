"""
For Django projects: an app config, a middleware, and the decorator that every framework shares.

Add `"remotion_licensing_integrations.django"` to `INSTALLED_APPS`,
`"remotion_licensing_integrations.django.middleware.UsageMiddleware"` to `MIDDLEWARE`, and the dict
`REMOTION_LICENSING` to the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._support.lazy import load_later
from ..usage import conversion, conversion_job, current_usage, usage_point

if TYPE_CHECKING:
    from ..usage import LimitReached
    from .limits import usage_limit
else:
    __getattr__, __dir__ = load_later(__name__, {"..usage": ("LimitReached",), ".limits": ("usage_limit",)})

__all__ = ["LimitReached", "conversion", "conversion_job", "current_usage", "usage_limit", "usage_point"]

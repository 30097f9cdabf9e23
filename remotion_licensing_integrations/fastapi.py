"""
For FastAPI apps: `app.add_middleware(UsageMiddleware, license_key=…)` and `@usage_point("cloud-render")`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from starlette.exceptions import HTTPException

from .starlette import (
    LimitReached,
    UsageMiddleware,
    conversion,
    conversion_job,
    current_usage,
    remotion_webhook,
    usage_point,
)
from .usage import LimitOptions, UsageLimit

__all__ = [
    "LimitReached",
    "UsageMiddleware",
    "conversion",
    "conversion_job",
    "current_usage",
    "remotion_webhook",
    "usage_limit",
    "usage_point",
]


def usage_limit(max_billable: int, **options: Unpack[LimitOptions]) -> Callable[[], None]:
    """
    Return a dependency that refuses requests once *max_billable* points are billable in a period.

    For `@app.post("/convert", dependencies=[Depends(usage_limit(1000, event="cloud-render"))])`. Otherwise the same as
    `starlette.usage_limit`, but the refusal is an `HTTPException`, which the app's own handlers see.

    Raises:
        ConfigurationError: An argument is unusable.
    """
    limit = UsageLimit(max_billable, **options)

    # Not `async`: FastAPI runs it in a thread.
    def check_usage_limit() -> None:
        reached = limit.check()
        if reached is not None:
            raise HTTPException(429, reached.detail, reached.headers)

    return check_usage_limit

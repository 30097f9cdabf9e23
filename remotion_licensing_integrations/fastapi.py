"""
For FastAPI apps: `app.add_middleware(UsageMiddleware, license_key=…)` and `@usage_point("cloud-render")`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Unpack

from starlette.exceptions import HTTPException

from ._support.lazy import load_later
from .starlette import (
    UsageMiddleware,
    conversion,
    conversion_job,
    current_usage,
    remotion_webhook,
    usage_point,
)

if TYPE_CHECKING:
    from .usage import LimitOptions, LimitReached
else:
    __getattr__ = load_later(__name__, {".usage": ("LimitReached",)})

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

    For `@app.post("/convert", dependencies=[Depends(usage_limit(1000, event="cloud-render"))])`. The answer is 429 with
    `Retry-After`, raised as an `HTTPException`, which the app's own handlers see; a refused request records no point.
    It needs the private licence key. Without the licensing API's figure, every request passes.

    Args:
        max_billable: How many points may be billable in a period.

    Raises:
        ConfigurationError: An argument is unusable.
    """
    from .usage import UsageLimit  # noqa: PLC0415 - most apps have no limit

    limit = UsageLimit(max_billable, **options)

    # Not `async`: FastAPI runs it in a thread.
    def check_usage_limit() -> None:
        reached = limit.check()
        if reached is not None:
            raise HTTPException(429, reached.detail, reached.headers)

    return check_usage_limit

"""
Usage limits for views.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import ParamSpec, TypeVar, Unpack

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpResponse

from ..usage import LimitOptions, LimitReached, UsageLimit

P = ParamSpec("P")
R = TypeVar("R")


def usage_limit(max_billable: int, **options: Unpack[LimitOptions]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """
    Refuse requests to the decorated view, before it runs, once *max_billable* points are billable in a period.

    Put it above `usage_point`; for methods of classes there is Django's `method_decorator`. The answer is 429 with
    `Retry-After`; a refused request records no point. It needs the private licence key. Without the licensing API's
    figure, every request passes.

    Args:
        max_billable: How many points may be billable in a period.
        **options: `per` is `"month"` (the default) or `"day"`, in UTC. `event` limits one event only. `on_limit` is
            called with a `LimitReached` instead of a refusal: when it returns true, the request passes; what it raises
            is the answer. `clock` returns the current time, in tests.

    Raises:
        ConfigurationError: An argument is unusable.
    """
    limit = UsageLimit(max_billable, **options)
    return lambda view: limit.guard(view, is_async=iscoroutinefunction(view), in_thread=_in_thread, answer=_too_many)


async def _in_thread(check: Callable[[], LimitReached | None]) -> LimitReached | None:
    return await sync_to_async(check)()


def _too_many(reached: LimitReached) -> HttpResponse:
    return HttpResponse(json.dumps(reached.problem), status=429, headers=reached.headers)

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

    Put it above `usage_point`; for methods of classes there is Django's `method_decorator`. Otherwise the same as
    `starlette.usage_limit`.

    Raises:
        ConfigurationError: An argument is unusable.
    """
    limit = UsageLimit(max_billable, **options)
    return lambda view: limit.guard(view, is_async=iscoroutinefunction(view), in_thread=_in_thread, answer=_too_many)


async def _in_thread(check: Callable[[], LimitReached | None]) -> LimitReached | None:
    return await sync_to_async(check)()


def _too_many(reached: LimitReached) -> HttpResponse:
    return HttpResponse(json.dumps(reached.problem), status=429, headers=reached.headers)

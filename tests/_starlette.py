"""
Starlette apps under test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import BaseRoute

from remotion_licensing_integrations.starlette import UsageMiddleware
from tests._asgi import QUIET


def starlette_app(
    *routes: BaseRoute, outside: Sequence[Middleware] = (), inside: Sequence[Middleware] = (), **options: Any
) -> Starlette:
    """
    Return a Starlette app with our middleware between others.
    """
    exception_handlers = options.pop("exception_handlers", None)
    ours = Middleware(UsageMiddleware, **(options if "recorder" in options else {**QUIET, **options}))
    return Starlette(routes=routes, middleware=[*outside, ours, *inside], exception_handlers=exception_handlers or {})


async def _pass_on(http_request: Any, call_next: Any) -> Any:
    return await call_next(http_request)


#: A middleware that does nothing but what Starlette's base class does to each response.
BASE_HTTP = Middleware(BaseHTTPMiddleware, dispatch=_pass_on)

"""
Looks at the app: its middleware, and the endpoints that count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ...outbox import Finding
from ...usage import count_decorated
from ..app import FoundApp, Oddity
from ..endpoints import FoundEndpoint

_ODDITIES: Final[Mapping[Oddity, Finding]] = {
    "missing": Finding(
        "error", "middleware_missing", "The app has no UsageMiddleware, so it records nothing: add it, innermost."
    ),
    "twice": Finding(
        "warning",
        "middleware_twice",
        "UsageMiddleware is there more than once; the outermost counts, by its settings. Keep the innermost.",
    ),
    "not innermost": Finding(
        "warning",
        "middleware_not_innermost",
        "Another middleware is between UsageMiddleware and the endpoints; what it answers or changes counts, too. "
        "Place UsageMiddleware last in `middleware=[…]` or MIDDLEWARE, first of several `add_middleware` calls.",
    ),
}


def examine_app(app: FoundApp) -> Iterable[Finding]:
    """
    Look at the middleware and name each endpoint with its event.
    """
    yield from (_ODDITIES[oddity] for oddity in app.oddities if oddity in _ODDITIES)
    for middleware in app.middlewares:
        if middleware.mistake is not None:
            yield Finding(
                "error",
                "middleware_mistaken",
                f"UsageMiddleware records nothing because of its arguments: {middleware.mistake}",
            )
    if not app.endpoints and not count_decorated():  # some frameworks hide their endpoints
        yield Finding(
            "warning",
            "no_endpoints",
            f"No endpoint of {app.name} counts: decorate those that convert with @usage_point, or name them in "
            "`endpoints`. (Blocks and jobs count without.)",
        )
    for endpoint in app.endpoints:
        yield _examine_endpoint(endpoint)
        if endpoint.accepts and not endpoint.defers:
            yield Finding(
                "warning",
                "accepted_without_defer",
                f"{_name(endpoint)} answers 202, but its code does not call `current_usage().defer()`: no point is "
                "recorded. See docs/guides/jobs.md.",
            )


def _examine_endpoint(endpoint: FoundEndpoint) -> Finding:
    if endpoint.by == "misplaced decorator":
        return Finding(
            "warning",
            "decorator_misplaced",
            f"{_name(endpoint)}: @usage_point is above the route's decorator, so only the status shows what happened. "
            "Put it directly on the function, below the route's.",
        )
    return Finding("ok", "endpoint", f"{_name(endpoint)} counts as {endpoint.event}.")


def _name(endpoint: FoundEndpoint) -> str:
    route = f"{'|'.join(endpoint.methods)} {endpoint.path}".strip()
    return route if endpoint.by == "rule" else f"{route} ({endpoint.name})"

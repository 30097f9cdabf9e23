"""
What `doctor` sees of a project: its middleware, and the views that count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.urls import get_resolver

from ..operations import FoundApp, FoundEndpoint, Oddity, describe_endpoint
from .checks import is_own_middleware


def find_project() -> FoundApp:
    """
    Look into the project; a URL configuration that is broken, which Django reports, has no views.
    """
    name = getattr(settings, "ROOT_URLCONF", None)
    try:
        endpoints = [*_find(get_resolver().url_patterns, "/")] if name else []
    except Exception:  # noqa: BLE001 - importing the views runs the project's code
        endpoints = []
    oddities = [*_find_oddities(has_views=bool(endpoints))]
    return FoundApp(name=str(name), middlewares=(), endpoints=endpoints, oddities=oddities)


def _find(patterns: Iterable[Any], prefix: str) -> Iterable[FoundEndpoint]:
    for pattern in patterns:
        path = f"{prefix}{pattern.pattern}"
        view: Any = getattr(pattern, "callback", None)
        if view is None:
            yield from _find(pattern.url_patterns, path)
        for method, action in (getattr(view, "actions", None) or {}).items():  # of a view set
            yield from describe_endpoint(getattr(view.cls, action), path, [method.upper()])
        # What django-ninja and `@api_view` make of a view does not tell which it was.
        yield from describe_endpoint(getattr(view, "view_class", getattr(view, "cls", view)), path)


def _find_oddities(*, has_views: bool) -> Iterable[Oddity]:
    ours = [is_own_middleware(path) for path in settings.MIDDLEWARE]
    if not any(ours) and has_views:
        yield "missing"
    if sum(ours) > 1:
        yield "twice"
    if any(ours) and not ours[-1]:
        yield "not innermost"

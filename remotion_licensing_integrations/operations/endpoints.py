"""
The endpoints of an app that count, as its framework knows them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

from ..usage import decorated_options, marked_options

#: The handlers of a class-based endpoint.
_HANDLERS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
_ACCEPTED: Final = re.compile(r"\b(?:HTTP_)?202(?:_ACCEPTED)?\b|\bHTTPStatus\.ACCEPTED\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEndpoint:
    """
    An endpoint that counts.

    Attributes:
        path: Its path, with the paths of mounts above it.
        methods: Its HTTP methods; empty when any will do.
        name: Module and name of the function; the rule itself when it is counted by one.
        event: What it counts as.
        by: Whether the decorator counts it, or a rule, or the decorator in the wrong place: above the route's.
        accepts: Whether it answers 202, as far as its route and its code say: its work goes on after the response.
        defers: Whether its code defers the point; true also when its code cannot be read.
    """

    path: str
    methods: Sequence[str]
    name: str
    event: str
    by: Literal["decorator", "rule", "misplaced decorator"]
    accepts: bool = False
    defers: bool = False


def describe_endpoint(
    endpoint: Any, path: str, methods: Iterable[str] = (), *, status: int | None = None
) -> Iterable[FoundEndpoint]:
    """
    Describe *endpoint*, or the handlers of a class, as far as they count.

    Args:
        endpoint: A function or a class.
        path: Where it is.
        methods: The HTTP methods of a function.
        status: What its route says that it answers.
    """
    handlers: list[Any] = (
        [getattr(endpoint, name, None) for name in _HANDLERS] if inspect.isclass(endpoint) else [endpoint]
    )
    for handler in handlers:
        options, misplaced = decorated_options(handler), marked_options(handler)
        if (counts := options or misplaced) is not None:
            source = _source(handler)
            yield FoundEndpoint(
                path=path,
                methods=[handler.__name__.upper()] if handler.__name__ in _HANDLERS else sorted(methods),
                name=f"{handler.__module__}.{handler.__qualname__}",
                event=counts.event,
                by="decorator" if options else "misplaced decorator",
                accepts=status == HTTPStatus.ACCEPTED or _ACCEPTED.search(source) is not None,
                defers=not source or "defer" in source,
            )


def _source(handler: Any) -> str:
    try:
        function = inspect.unwrap(handler)
        # Python 3.13 takes the program of `python -c` for the source of whatever was made from a string.
        return "" if inspect.getfile(function).startswith("<") else inspect.getsource(function)
    except (OSError, TypeError):
        return ""  # it was not read from a file

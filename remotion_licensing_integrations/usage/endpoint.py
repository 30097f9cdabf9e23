"""
The decorator that marks an endpoint.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any, Final, ParamSpec, TypeVar, cast

from ..points import Event
from ..recording import null_recorder
from .mistakes import report_missing_middleware
from .options import UsageOptions
from .settlement import Settlement, find_settlement

P = ParamSpec("P")
R = TypeVar("R")

_OK: Final = 200
_MARKER: Final = "__remotion_usage_point__"
_DECORATED: Final = "__remotion_usage_options__"

_decorated = 0


def usage_point(
    event: Event, *, host: str | None = None, is_still: bool = False, is_production: bool | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """
    Count each run of the decorated endpoint as one usage point, registered with the outcome of its response.

    Put it directly on the function, below the framework's own decorators. It works on sync and async functions,
    generators and methods, and keeps their signature.

    Args:
        event: `"web-render"`, `"cloud-render"` or `"webcodec-conversion"`.
        host: Fixed origin of the frontend, instead of the request's.
        is_still: Whether a still image is rendered.
        is_production: Whether the point may be billed; defaults to the setting.

    Raises:
        ConfigurationError: An argument is unusable.
        TypeError: The decorated object is not a function or method.
    """
    global _decorated  # noqa: PLW0603 - only ever counted up
    if callable(event):
        msg = 'usage_point needs an event: @usage_point("cloud-render")'
        raise TypeError(msg)
    options = UsageOptions(event, host, is_still, is_production)
    _decorated += 1
    return functools.partial(_decorate, options)


def count_decorated() -> int:
    """
    Return how many endpoints this process has decorated, which tells whether an app counts anything.
    """
    return _decorated


def marked_options(endpoint: object) -> UsageOptions | None:
    """
    Return the options of a decorated function that is called undecorated, because the route decorator is below ours.
    """
    return _options(endpoint, _MARKER)


def decorated_options(endpoint: object) -> UsageOptions | None:
    """
    Return the options of an endpoint that is called decorated, for what only looks at an app.
    """
    return _options(endpoint, _DECORATED)


def adopt_misplaced(settlement: Settlement, endpoint: object) -> None:
    """
    Count *endpoint*, which a route found, although its decorator is above the route's; say so once.
    """
    options = marked_options(endpoint)
    if options is not None and settlement.event is None:
        settlement.recorder.warn_once(
            f"decorator_misplaced {endpoint!r}",
            f"@usage_point is above the route decorator of {endpoint!r}, so only the status shows what "
            "happened. Put it directly on the function, below the route decorator.",
        )
        settlement.apply(options)


def _options(endpoint: object, mark: str) -> UsageOptions | None:
    try:
        options = getattr(endpoint, mark, None)
    except Exception:  # noqa: BLE001 - an endpoint can be any object
        return None
    return options if isinstance(options, UsageOptions) else None


def _decorate(options: UsageOptions, function: Callable[P, R]) -> Callable[P, R]:
    if inspect.isclass(function) or not callable(function):
        msg = f"usage_point: {function!r} is not a function or method; decorate the methods that convert"
        raise TypeError(msg)
    wrapper: Any = _wrapper(options, function)
    # Frameworks name operations after it; partial objects and instances have none and get that of their class.
    wrapper.__name__ = getattr(function, "__name__", type(function).__name__)
    # `wraps` copies attributes: a mark among them belongs to another use of the same function.
    wrapper.__dict__.pop(_MARKER, None)
    setattr(wrapper, _DECORATED, options)
    # FastAPI before 0.123.5 looks postponed annotations up in this module instead of the function's.
    with suppress(Exception):  # names that exist for type checkers only stay strings
        wrapper.__signature__ = inspect.signature(function, eval_str=True)
    with suppress(AttributeError):  # bound methods and built-in functions take no attributes
        setattr(function, _MARKER, options)
    return cast("Callable[P, R]", wrapper)


def _wrapper(options: UsageOptions, function: Callable[..., Any]) -> Callable[..., Any]:
    called = _called(function)
    if inspect.isasyncgenfunction(called):

        @functools.wraps(function)
        async def stream_async(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            with _watched(_entered(options, function)):
                async with aclosing(function(*args, **kwargs)) as items:
                    async for item in items:
                        yield item

        return stream_async
    if inspect.isgeneratorfunction(called):

        @functools.wraps(function)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with _watched(_entered(options, function)):
                yield from function(*args, **kwargs)

        return stream
    if inspect.iscoroutinefunction(called):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            settlement = _entered(options, function)
            return _watch_body(await function(*args, **kwargs), settlement)

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        settlement = _entered(options, function)
        result = _run(settlement, function, args, kwargs)
        return _finish(result, settlement) if inspect.isawaitable(result) else _watch_body(result, settlement)

    return call


def _run(settlement: Settlement, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if settlement.running:
        # It is called by another one, whose end counts
        # (tests/usage/test_pending.py::test_decorated_function_within_an_endpoint).
        return function(*args, **kwargs)
    settlement.running = True
    status, streams = 0, False
    try:
        result = function(*args, **kwargs)
        status, streams = getattr(result, "status_code", _OK), _streams(result)
        return result
    finally:
        settlement.leave(status, streams=streams)


def _streams(response: object) -> bool:
    # Attributes of Django's responses; unlike a stream, a file exists already.
    return getattr(response, "streaming", False) is True and not hasattr(response, "file_to_stream")


def _called(function: Any) -> Any:
    # An instance is as synchronous or asynchronous as its class's `__call__`.
    return type(function).__call__ if _is_instance(function) else function


def _is_instance(function: object) -> bool:
    return not hasattr(function, "__name__") and not isinstance(function, functools.partial)


async def _finish(result: Any, settlement: Settlement) -> Any:
    return _watch_body(await result, settlement)


def _entered(options: UsageOptions, function: Callable[..., Any]) -> Settlement:
    settlement = find_settlement()
    if settlement is not None:
        settlement.enter(options)
        return settlement
    name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    report_missing_middleware(f"{name} ran", "its usage point is not recorded")
    return Settlement(null_recorder())


def _watch_body(response: Any, settlement: Settlement) -> Any:
    # A middleware between ours and the endpoint may end a broken stream as if it were whole (Starlette's
    # BaseHTTPMiddleware does), so the failure is noted where it happens.
    body = getattr(response, "body_iterator", None)
    if hasattr(body, "__aiter__"):
        with suppress(AttributeError):  # read-only in the app's own response class
            response.body_iterator = _watch_stream(body, settlement)
    return response


async def _watch_stream(body: Any, settlement: Settlement) -> AsyncIterator[Any]:
    with _watched(settlement):
        async for chunk in body:
            yield chunk


@contextmanager
def _watched(settlement: Settlement) -> Generator[None]:
    if settlement.is_block:
        yield
        return
    settlement.streaming = True
    try:
        yield
    except (GeneratorExit, asyncio.CancelledError):
        settlement.aborted = True
        raise
    except BaseException:
        settlement.failed = True
        raise
    finally:
        settlement.streaming = False

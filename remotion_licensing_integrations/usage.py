"""
What an app's own code touches: the decorator that marks an endpoint, and the usage point of the current request.

A middleware puts a `PendingUsage` into a context variable; the decorator marks it as entered; the middleware settles it
when the response ends. The object is shared and mutable on purpose: a context variable set in a thread or task below is
invisible above, a change to a shared object is not.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from .deferral import encode_token
from .errors import ConfigurationError
from .models import UsagePoint, check_event, check_idempotency_key, new_idempotency_key
from .origin import ResolvedHost, check_origin

if TYPE_CHECKING:
    from .recorder import UsageRecorder

logger: Final = logging.getLogger("remotion_licensing_integrations")

Settle = Callable[[str, int], UsagePoint | None]

P = ParamSpec("P")
R = TypeVar("R")

#: Statuses that say "nothing was converted" whoever gives them: a player fetching ranges, a cache asking for news.
_NEVER_COUNTED: Final = frozenset({206, 304})
#: Statuses of requests that most likely ended before the endpoint; they count only when it is known to be entered.
_NOT_ENTERED: Final = frozenset({307, 308, 401, 403, 404, 405, 422, 429})
_OK: Final = 200
_ACCEPTED: Final = 202
_FIRST_ERROR: Final = 400
_MARKER: Final = "__remotion_usage_point__"


@dataclass(frozen=True, slots=True)
class UsageOptions:
    """
    What `usage_point` was given; `None` leaves it to the settings or the request.
    """

    event: str
    host: str | None = None
    is_still: bool = False
    is_production: bool | None = None


class PendingUsage:
    """
    The usage point of the current request, to be adjusted, skipped or deferred until the response ends.

    Attributes:
        succeeded: `None` leaves it to the response; `True` or `False` overrules the response.
        is_still: Whether a still image was rendered.
        is_production: Whether the point may be billed.
    """

    # Class attributes are the defaults, so that a request which is not counted creates next to nothing.
    succeeded: bool | None = None
    is_still = False
    is_production: bool | None = None
    #: Whether the decorated endpoint was entered; set by the decorator.
    entered = False
    #: Whether the outcome is decided; set by the adapter.
    settled = False
    #: Whether the response's body broke off by an error, or because the client went; set while streaming.
    failed = False
    aborted = False
    #: Whether the endpoint's stream has begun and not ended.
    streaming = False
    #: Whether a synchronous endpoint runs just now.
    running = False
    _event: str | None = None
    _skipped = False
    _deferred = False
    _record_late: Callable[[Settle, int], object] | None = None
    _key: str | None = None
    _host: ResolvedHost | None = None

    def __init__(self, recorder: UsageRecorder | None, resolve: Callable[[], ResolvedHost]) -> None:
        self._recorder = recorder
        self._resolve = resolve

    @property
    def event(self) -> str | None:
        """
        Kind of the conversion; `None` until a decorated endpoint was entered.

        A value that the licensing API does not know is logged and ignored.
        """
        return self._event

    @event.setter
    def event(self, value: str) -> None:
        with _logged_mistake():
            self._event = check_event(value)

    @property
    def host(self) -> str | None:
        """
        Host of the point, an origin or `None`; an assignment overrules what the request says.

        A value that is not an origin is logged and ignored: a licensing mistake must not fail a request.
        """
        if self._host is None:
            self._host = self._resolve()
        return self._host.value

    @host.setter
    def host(self, value: str | None) -> None:
        with _logged_mistake():
            self._host = ResolvedHost(value if value is None else check_origin("host", value), "configured")

    @property
    def idempotency_key(self) -> str:
        """
        Names this point on every attempt; assign one of your own (a render's id) so that its repeats count once.

        A value that is not 1 to 255 printable ASCII characters is logged and ignored.
        """
        if self._key is None:
            self._key = new_idempotency_key()
        return self._key

    @idempotency_key.setter
    def idempotency_key(self, value: str) -> None:
        with _logged_mistake():
            self._key = check_idempotency_key(value)

    def skip(self) -> None:
        """
        Record nothing for this request, for instance because its result came from a cache.
        """
        self._skipped = True

    def defer(self) -> str:
        """
        Record nothing for this request and return a token for the place where the work ends.

        Give it to `UsageRecorder.complete` there. It is URL-safe and carries event, host, flags and idempotency key.
        """
        self._deferred = True
        return encode_token(self._point(succeeded=True))

    def enter(self, options: UsageOptions) -> None:
        """
        Note that the endpoint with *options* runs; the first one of a request wins.
        """
        if not self.entered:
            self.entered = True
            self.apply(options)

    def apply(self, options: UsageOptions) -> None:
        """
        Take over *options*.
        """
        self.event = options.event
        self.is_still = options.is_still
        self.is_production = options.is_production
        if options.host is not None:
            self._host = ResolvedHost(options.host, "configured")

    def complete(self, method: str, status: int) -> UsagePoint | None:
        """
        Settle for a response that went out whole; return the point to record.
        """
        self.settled = True
        if not self.entered and status in _NOT_ENTERED:
            return None
        if status == _ACCEPTED and self.succeeded is None:
            self._check_deferred()
            return None
        if self.aborted:
            return self.abort(method, status)
        return self._outcome(method, status, succeeded=status < _FIRST_ERROR and not self.failed)

    def fail(self, method: str, status: int) -> UsagePoint | None:
        """
        Settle for an error before the response's end, *status* being 0 when it had not started; see `complete`.
        """
        self.settled = True
        return self._outcome(method, status, succeeded=False)

    def abort(self, method: str, status: int) -> UsagePoint | None:
        """
        Same as `fail`, but for a client that went away.
        """
        self.settled = True
        wanted = self._recorder is not None and self._recorder.settings.report_aborted
        return self._outcome(method, status, succeeded=False) if wanted or self.succeeded is not None else None

    def abandon(self, record_late: Callable[[Settle, int], object]) -> bool:
        """
        Leave the settlement to the endpoint when it still runs, in a thread that nobody waits for any longer.

        Returns whether it does, or has yet to begin; then its end calls *record_late*.
        """
        self._record_late = record_late
        return self.running or not self.entered

    def leave(self, status: int, *, streams: bool = False) -> None:
        """
        Note that the synchronous endpoint has ended, with the status of its response or 0 for an exception.

        A response that *streams* is sent to nobody when the request was abandoned.
        """
        self.running = False
        if self._record_late is not None:
            settle = self.complete if status else self.fail
            self._record_late(self.abort if streams else settle, status)

    def _outcome(self, method: str, status: int, *, succeeded: bool) -> UsagePoint | None:
        if self._skipped or self._deferred or self.event is None or self._recorder is None:
            return None
        if status in _NEVER_COUNTED or method in {"HEAD", "OPTIONS"}:
            return None
        succeeded = _flag("succeeded", self.succeeded, default=succeeded)
        if not succeeded and not self._recorder.settings.report_failures:
            return None
        return self._point(succeeded=succeeded)

    def _point(self, *, succeeded: bool) -> UsagePoint:
        default = True if self._recorder is None else self._recorder.settings.is_production
        point = UsagePoint(
            event=self.event or "cloud-render",
            host=self.host,
            succeeded=succeeded,
            is_still=_flag("is_still", self.is_still, default=False),
            is_production=_flag("is_production", self.is_production, default=default),
            idempotency_key=self.idempotency_key,
        )
        if self._recorder is not None and self._host is not None:
            self._recorder.count_host(self._host)
        return point

    def _check_deferred(self) -> None:
        if not self._deferred and not self._skipped and self._recorder is not None:
            self._recorder.warn_once(
                "accepted_without_defer",
                "An endpoint with a usage point answered 202 Accepted without current_usage().defer(): no usage point "
                "is recorded. Defer it, give the token to the job, and complete it where the work ends.",
            )


#: The usage point of the current request; an adapter sets it for the time that the app has the request.
CURRENT: Final[ContextVar[PendingUsage | None]] = ContextVar("remotion_usage", default=None)


def current_usage() -> PendingUsage:
    """
    Return the usage point of the current request.

    Where no middleware is at work the result is connected to nothing, so that code with it runs in tests and scripts.
    """
    return CURRENT.get() or PendingUsage(None, lambda: ResolvedHost(None, "unknown"))


#: How many decorators this process has made; tells whether an app counts anything.
decorated = 0


def usage_point(
    event: str, *, host: str | None = None, is_still: bool = False, is_production: bool | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """
    Count each run of the decorated endpoint as one usage point, registered with the outcome of its response.

    Goes directly on the function, below the framework's own decorators; works on sync and async functions, generators
    and methods, and leaves the signature as it is.

    Args:
        event: `"web-render"`, `"cloud-render"` or `"webcodec-conversion"`.
        host: Fixed origin of the frontend, instead of the request's.
        is_still: Whether a still image is rendered.
        is_production: Whether the point may be billed; defaults to the setting.

    Raises:
        ConfigurationError: An argument is unusable.
        TypeError: The decorated object is not a function or method.
    """
    global decorated  # noqa: PLW0603 - only ever counted up
    if callable(event):
        msg = 'usage_point needs an event: @usage_point("cloud-render")'
        raise TypeError(msg)
    check_event(event)
    options = UsageOptions(event, None if host is None else check_origin("host", host), is_still, is_production)
    decorated += 1
    return functools.partial(_decorate, options)


def marked_options(endpoint: object) -> UsageOptions | None:
    """
    Return the options of a function that was decorated but is called undecorated: the decorator stands too far out.
    """
    try:
        options = getattr(endpoint, _MARKER, None)
    except Exception:  # noqa: BLE001 - an endpoint is anybody's object
        return None
    return options if isinstance(options, UsageOptions) else None


def _decorate(options: UsageOptions, function: Callable[P, R]) -> Callable[P, R]:
    if inspect.isclass(function) or not callable(function):
        msg = f"usage_point: {function!r} is not a function or method; decorate the methods that convert"
        raise TypeError(msg)
    wrapper: Any = _wrapper(options, function)
    # Frameworks name operations after these; partial objects and instances have none, so they go by their class.
    wrapper.__name__ = getattr(function, "__name__", type(function).__name__)
    # `wraps` copies attributes: a mark of ours among them is of another use of the same function.
    wrapper.__dict__.pop(_MARKER, None)
    # FastAPI before 0.123.5 looks postponed annotations up in this module instead of the function's.
    with suppress(Exception):  # what only a type checker sees stays as it is
        wrapper.__signature__ = inspect.signature(function, eval_str=True)
    with suppress(AttributeError):  # bound methods and built-in functions take no attributes
        setattr(function, _MARKER, options)
    return cast("Callable[P, R]", wrapper)


def _wrapper(options: UsageOptions, function: Callable[..., Any]) -> Callable[..., Any]:
    kind = _called(function)
    if inspect.isasyncgenfunction(kind):

        @functools.wraps(function)
        async def stream_async(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            with _watched(_entered(options, function)):
                async with aclosing(function(*args, **kwargs)) as items:
                    async for item in items:
                        yield item

        return stream_async
    if inspect.isgeneratorfunction(kind):

        @functools.wraps(function)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with _watched(_entered(options, function)):
                yield from function(*args, **kwargs)

        return stream
    if inspect.iscoroutinefunction(kind):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            usage = _entered(options, function)
            return _watch_body(await function(*args, **kwargs), usage)

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        usage = _entered(options, function)
        result = _run(usage, function, args, kwargs)
        return _finish(result, usage) if inspect.isawaitable(result) else _watch_body(result, usage)

    return call


def _run(
    usage: PendingUsage | None, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if usage is None:
        return function(*args, **kwargs)
    usage.running = True
    status, streams = 0, False
    try:
        result = function(*args, **kwargs)
        status, streams = getattr(result, "status_code", _OK), _streams(result)
        return result
    finally:
        usage.leave(status, streams=streams)


def _streams(response: object) -> bool:
    # In Django's words; a file, other than a stream, is there already.
    return getattr(response, "streaming", False) is True and not hasattr(response, "file_to_stream")


def _called(function: Any) -> Any:
    # An instance is as synchronous or asynchronous as its class's `__call__`.
    return type(function).__call__ if _is_instance(function) else function


def _is_instance(function: object) -> bool:
    return not hasattr(function, "__name__") and not isinstance(function, functools.partial)


async def _finish(result: Any, usage: PendingUsage | None) -> Any:
    return _watch_body(await result, usage)


_reported: set[str] = set()


def _entered(options: UsageOptions, function: Callable[..., Any]) -> PendingUsage | None:
    usage = CURRENT.get()
    if usage is not None:
        usage.enter(options)
        return usage
    name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    if name not in _reported:
        _reported.add(name)
        logger.error(
            "%s ran outside a request that UsageMiddleware handles, so its usage point is not recorded. "
            "Has the app the middleware?",
            name,
            extra={"action": "middleware_missing"},
        )
    return None


def _watch_body(response: Any, usage: PendingUsage | None) -> Any:
    # A middleware between us and the endpoint may end a broken stream as if it were whole (Starlette's
    # BaseHTTPMiddleware does), so the failure is noted where it happens.
    body = getattr(response, "body_iterator", None)
    if usage is not None and hasattr(body, "__aiter__"):
        with suppress(AttributeError):  # read-only in somebody's own response class
            response.body_iterator = _watch_stream(body, usage)
    return response


async def _watch_stream(body: Any, usage: PendingUsage) -> AsyncIterator[Any]:
    with _watched(usage):
        async for chunk in body:
            yield chunk


@contextmanager
def _watched(usage: PendingUsage | None) -> Generator[None]:
    if usage is None:
        yield
        return
    usage.streaming = True
    try:
        yield
    except (GeneratorExit, asyncio.CancelledError):
        usage.aborted = True
        raise
    except BaseException:
        usage.failed = True
        raise
    finally:
        usage.streaming = False


def _flag(name: str, value: object, *, default: bool) -> bool:
    if isinstance(value, bool):
        return value
    if value is not None:
        with _logged_mistake():
            msg = f"{name}: expected True or False, got {value!r:.80}"
            raise ConfigurationError(msg)
    return default


@contextmanager
def _logged_mistake() -> Generator[None]:
    try:
        yield
    except (ConfigurationError, TypeError) as error:
        logger.error("current_usage(): %s; ignored.", error, extra={"action": "bad_adjustment"})  # noqa: TRY400

"""
The usage point of the current request or job, to be adjusted until its outcome is settled.

A middleware puts a `PendingUsage` into a context variable; the decorator marks it as entered; the middleware settles it
when the response ends. The object is shared and mutable on purpose: a context variable set in a thread or task below is
invisible above, a change to a shared object is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError
from ..points import (
    UNKNOWN_EVENT,
    ResolvedHost,
    UsagePoint,
    check_event,
    check_flag,
    check_idempotency_key,
    check_origin,
    encode_token,
    new_idempotency_key,
)

if TYPE_CHECKING:
    from ..recording import UsageRecorder

logger: Final = logging.getLogger("remotion_licensing_integrations")

Settle = Callable[[str, int], UsagePoint | None]

#: Statuses that say "nothing was converted" whoever gives them: a player fetching ranges, a cache asking for news.
_NEVER_COUNTED: Final = frozenset({206, 304})
#: Statuses of requests that most likely ended before the endpoint; they count only when it is known to be entered.
_NOT_ENTERED: Final = frozenset({307, 308, 401, 403, 404, 405, 422, 429})
_ACCEPTED: Final = 202
_FIRST_ERROR: Final = 400


@dataclass(frozen=True, slots=True)
class UsageOptions:
    """
    What a decorator was given; `None` leaves it to the settings or the request.
    """

    event: str
    host: str | None = None
    is_still: bool = False
    is_production: bool | None = None


class PendingUsage:
    """
    The usage point of the current request or job, to be adjusted, skipped or deferred until that ends.

    Attributes:
        succeeded: `None` leaves it to the response or the job's end; `True` or `False` overrules it.
        is_still: Whether a still image was rendered.
        is_production: Whether the point may be billed.
    """

    # Class attributes are the defaults, so that a request which is not counted creates next to nothing.
    succeeded: bool | None = None
    is_still = False
    is_production: bool | None = None
    #: Whether the decorated code was entered; set by the decorator.
    entered = False
    #: Whether the outcome is decided; set by the adapter.
    settled = False
    #: Whether the response's body broke off by an error, or because the client went; set while streaming.
    failed = False
    aborted = False
    #: Whether the endpoint's stream has begun and not ended.
    streaming = False
    #: Whether points were recorded within the request, beside its own.
    recorded = False
    #: Whether this is a block's or a job's, whose own end decides and not that of a stream within.
    block = False
    #: Whether this is the rest of a deferred point.
    resumed = False
    #: Whether a synchronous endpoint runs just now.
    running = False
    _event: str | None = None
    _skipped = False
    _deferred: UsagePoint | None = None
    _record_late: Callable[[Settle, int], object] | None = None
    _key: str | None = None
    _host: ResolvedHost | None = None

    def __init__(self, recorder: UsageRecorder | None, resolve: Callable[[], ResolvedHost]) -> None:
        self.recorder = recorder
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
    def counts(self) -> bool:
        """
        Whether points may come, or have come, of the request.
        """
        return self._event is not None or self.recorded

    @property
    def host(self) -> str | None:
        """
        Host of the point, an origin or `None`; an assignment overrules what the request says.

        A value that is not an origin is logged and ignored: a licensing mistake must not fail a request.
        """
        return self.resolved_host.value

    @host.setter
    def host(self, value: str | None) -> None:
        with _logged_mistake():
            self._host = ResolvedHost(value if value is None else check_origin("host", value), "configured")

    @property
    def resolved_host(self) -> ResolvedHost:
        """
        The host, and where it comes from.
        """
        if self._host is None:
            self._host = self._resolve()
        return self._host

    @property
    def idempotency_key(self) -> str:
        """
        Names this point on every attempt; assign one of your own (a render's id) so that its repeats count once.

        A value that is not 1 to 255 printable ASCII characters is logged and ignored; so is any in a job with a token.
        """
        if self._key is None:
            self._key = new_idempotency_key()
        return self._key

    @idempotency_key.setter
    def idempotency_key(self, value: str) -> None:
        with _logged_mistake():
            if self.resumed and value != self._key:
                msg = "idempotency_key: a deferred point keeps its own, under which its outcome is awaited"
                raise ConfigurationError(msg)
            self._key = check_idempotency_key(value)

    def skip(self) -> None:
        """
        Record nothing, for instance because the result came from a cache.
        """
        self._skipped = True

    def defer(self) -> str:
        """
        Leave the outcome to the place where the work ends, and return a token for it.

        Give it to a `conversion_job` as `usage_token`, or to `UsageRecorder.complete`. It is URL-safe and carries
        event, host, flags and idempotency key. Until it is completed, the outbox has the point as deferred. Where no
        request is counted there is only the key, and the `conversion_job` knows the rest.
        """
        if self._deferred is None:
            self._deferred = self._point(succeeded=None)
        return encode_token(self._deferred, known=self.event is not None)

    def resume(self, point: UsagePoint) -> None:
        """
        Go on with a deferred *point*, whatever decorators say.
        """
        self.entered = self.resumed = True
        self.event, self.is_still, self.is_production = point.event, point.is_still, point.is_production
        self._host, self._key = ResolvedHost(point.host, "configured"), point.idempotency_key

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
        if self.aborted:
            return self.abort(method, status)
        succeeded = status < _FIRST_ERROR and not self.failed
        if self._deferred is not None:
            return self._deferral() if succeeded else None
        if status == _ACCEPTED and self.succeeded is None:
            self._warn_undeferred()
            return None
        return self._outcome(method, status, succeeded=succeeded)

    def fail(self, method: str, status: int) -> UsagePoint | None:
        """
        Settle for an error before the response's end, *status* being 0 when it had not started; see `complete`.
        """
        self.settled = True
        if self._deferred is not None:
            # Who deferred it first still awaits the outcome.
            return self._deferral() if self.resumed else None
        return self._outcome(method, status, succeeded=False)

    def abort(self, method: str, status: int) -> UsagePoint | None:
        """
        Same as `fail`, but for a client that went away.
        """
        self.settled = True
        if self._deferred is not None:
            return self._deferral()
        wanted = self.recorder is not None and self.recorder.settings.report_aborted
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

    def _deferral(self) -> UsagePoint | None:
        # Recorded without an outcome, so that work which never ends can be seen.
        return None if self._skipped or self.event is None or self.recorder is None else self._deferred

    def _outcome(self, method: str, status: int, *, succeeded: bool) -> UsagePoint | None:
        if self._skipped or self.event is None or self.recorder is None:
            return None
        if status in _NEVER_COUNTED or method in {"HEAD", "OPTIONS"}:
            return None
        succeeded = _flag("succeeded", self.succeeded, default=succeeded)
        if not succeeded and not self.recorder.settings.report_failures:
            return None
        return self._point(succeeded=succeeded)

    def _point(self, *, succeeded: bool | None) -> UsagePoint:
        default = True if self.recorder is None else self.recorder.settings.is_production
        point = UsagePoint(
            event=self.event or UNKNOWN_EVENT,
            host=self.host,
            succeeded=succeeded,
            is_still=_flag("is_still", self.is_still, default=False),
            is_production=_flag("is_production", self.is_production, default=default),
            idempotency_key=self.idempotency_key,
        )
        if self.recorder is not None and not self.resumed:
            self.recorder.count_host(self.resolved_host)
        return point

    def _warn_undeferred(self) -> None:
        if self.event is not None and not self._skipped and self.recorder is not None:
            self.recorder.warn_once(
                "accepted_without_defer",
                "An endpoint with a usage point answered 202 Accepted without current_usage().defer(): no usage point "
                "is recorded. Defer it, give the token to the job, and complete it where the work ends.",
            )


#: The usage point of the current request or job, set for the time that the app's own code has it.
CURRENT: Final[ContextVar[PendingUsage | None]] = ContextVar("remotion_usage", default=None)


def find_usage() -> PendingUsage | None:
    """
    Return the usage point of the current request or job, if there is one.
    """
    usage = CURRENT.get()
    # A block in a generator can leave its point behind, when others begin and end in between.
    return None if usage is not None and usage.block and usage.settled else usage


def current_usage() -> PendingUsage:
    """
    Return the usage point of the current request or job.

    Where there is none the result is connected to nothing, so that code with it runs in tests and scripts.
    """
    return find_usage() or PendingUsage(None, lambda: ResolvedHost(None, "unknown"))


def _flag(name: str, value: object, *, default: bool) -> bool:
    if value is not None:
        with _logged_mistake():
            return check_flag(name, value)
    return default


@contextmanager
def _logged_mistake() -> Generator[None]:
    # A licensing mistake must not fail the app's own work.
    try:
        yield
    except (ConfigurationError, TypeError) as error:
        logger.error("current_usage(): %s; ignored.", error, extra={"action": "bad_adjustment"})  # noqa: TRY400 - as above

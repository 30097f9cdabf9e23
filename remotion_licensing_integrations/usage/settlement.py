"""
Settles usage points: decides by the end of a request, block or job what is recorded.

Adapters subclass `Settlement` for a request and call `record` or `arecord` with how it ended; the decorator notes what
happens inside. The object is shared and mutable on purpose: the middleware does not see a context variable that the
endpoint's thread or task sets, but it sees a change to a shared object.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, Literal

from ..points import (
    UNKNOWN_EVENT,
    Event,
    OriginHeaders,
    ResolvedHost,
    UsagePoint,
    new_idempotency_key,
    resolve_host,
)
from ..recording import Entry, Forget, UsageRecorder
from .mistakes import adopt_flag, log_crash
from .options import UsageOptions

#: How a request, block or job has ended: to its last byte, by an error, or because its client or process went away.
Ending = Literal["whole", "failed", "aborted"]

#: Statuses of responses that convert nothing: a player fetches ranges, a cache asks for changes.
_NEVER_COUNTED: Final = frozenset({206, 304})
#: Statuses of requests that most likely ended before the endpoint; they count only when the endpoint was entered.
_NOT_ENTERED: Final = frozenset({307, 308, 401, 403, 404, 405, 422, 429})
_ACCEPTED: Final = 202
_FIRST_ERROR: Final = 400


class Settlement:
    """
    Decides, once, the outcome of one usage point, and records it.

    A subclass knows the method and the host of its request.
    """

    # Class attributes are the defaults, so that a request that does not count costs almost nothing.
    method: str = ""
    # What the app says, by its decorator or `current_usage()`.
    event: Event | None = None
    host: ResolvedHost | None = None
    succeeded: bool | None = None
    is_still: bool | None = None
    is_production: bool | None = None
    label: str | None = None
    key: str | None = None
    key_fingerprint: str | None = None
    skipped: bool = False
    deferred: UsagePoint | None = None
    #: The deferred point that stands for this request in a usage limit, until the outcome takes its place.
    reserved: UsagePoint | None = None
    #: Whether the decorated code was entered.
    entered: bool = False
    #: Whether a synchronous endpoint is running, and whether its request no longer waits for it.
    running: bool = False
    abandoned: bool = False
    #: Whether the endpoint's stream is under way, and whether it was broken off by an error or by its client.
    streaming: bool = False
    failed: bool = False
    aborted: bool = False
    #: Whether this belongs to a block or job: its own end decides, not the end of a stream inside.
    is_block: bool = False
    #: Whether this completes a deferred point.
    completes: bool = False
    #: Whether the outcome is decided, and whether it was a point.
    settled: bool = False
    recorded: bool = False
    #: Whether blocks within the request have recorded points.
    recorded_within: bool = False

    def __init__(self, recorder: UsageRecorder) -> None:
        self.recorder = recorder

    @property
    def may_count(self) -> bool:
        """
        Whether this request has recorded a point or may still do so.
        """
        return self.event is not None or self.recorded_within or self.reserved is not None

    def find_host(self) -> ResolvedHost:
        """
        Return the point's host, unless the app sets another one.
        """
        return self.choose_host(OriginHeaders(), lambda: None)

    def choose_host(self, headers: OriginHeaders, own: Callable[[], str | None]) -> ResolvedHost:
        """
        Return the host of a request with *headers*; *own* returns the server's own origin, see `points.resolve_host`.
        """
        return resolve_host(headers, own=own, configured=self.recorder.settings.host, allows=self.recorder.allows_host)

    @property
    def resolved_host(self) -> ResolvedHost:
        """
        The host, and where it comes from.
        """
        if self.host is None:
            self.host = self.find_host()
        return self.host

    @property
    def idempotency_key(self) -> str:
        """
        The key of the point, created when it is first needed.
        """
        if self.key is None:
            self.key = new_idempotency_key()
        return self.key

    def enter(self, options: UsageOptions) -> None:
        """
        Note that an endpoint with *options* was entered; the first one of a request wins.
        """
        if not self.entered:
            self.entered = True
            self.apply(options)

    def apply(self, options: UsageOptions) -> None:
        """
        Use *options* for the point.
        """
        self.event = options.event
        self.is_still = adopt_flag("is_still", options.is_still)
        self.is_production = adopt_flag("is_production", options.is_production)
        if options.host is not None:
            self.host = ResolvedHost(options.host, "configured")

    def take_deferred(self, point: UsagePoint) -> None:
        """
        Complete the deferred *point*; decorators no longer change it.
        """
        self.entered = self.completes = True
        self.event, self.is_still, self.is_production = point.event, point.is_still, point.is_production
        self.host, self.key = ResolvedHost(point.host, "configured"), point.idempotency_key
        self.label, self.key_fingerprint = point.label or self.label, point.key_fingerprint

    def defer(self) -> UsagePoint:
        """
        Leave the outcome open, and return the point without it.
        """
        if self.deferred is None:
            self.deferred = self._point(succeeded=None)
        return self.deferred

    def reserve(self, event: Event | None) -> UsagePoint:
        """
        Return this request's point before its work begins: without an outcome, and of *event* unless it has an event.
        """
        if self.reserved is None:
            self.reserved = self._point(succeeded=None, event=event)
        return self.reserved

    def withdraw(self, entry: Entry | None = None) -> Forget | None:
        """
        Return what removes the reserved point when *entry* does not take its place; `None` when nothing is to remove.
        """
        reserved, self.reserved = self.reserved, None
        if reserved is None:
            return None
        if isinstance(entry, UsagePoint) and entry.succeeded is not None:
            # The app may have chosen another key in the meantime.
            return None if entry.idempotency_key == reserved.idempotency_key else Forget(reserved.idempotency_key)
        # A deferred point would leave the reserved one as it is, with what was known before the work began.
        return Forget(reserved.idempotency_key)

    def abandon(self) -> bool:
        """
        Leave the settlement to a synchronous endpoint that outlives its request; return whether it does.

        It does when it still runs in its thread or has not begun yet.
        """
        self.abandoned = True
        return self.running or not self.entered

    def leave(self, status: int, *, streams: bool = False) -> None:
        """
        Note that the synchronous endpoint has ended, with the status of its response or 0 for an exception.

        A response that *streams* is sent to no client when the request was abandoned.
        """
        self.running = False
        if self.abandoned:
            self.record("aborted" if streams else "whole" if status else "failed", status)

    def record(self, ending: Ending, status: int = 0, *, wait: float | None = None) -> bool:
        """
        Settle once, record the outcome, and return whether it is committed; never raises.

        Args:
            ending: How the request, block or job ended.
            status: Status of the response; 0 without one.
            wait: See `UsageRecorder.record`.
        """
        entry: Entry | None = None
        try:
            entry = self.settle(ending, status)
            if (reserved := self.withdraw(entry)) is not None:
                self.recorder.record(reserved, wait=wait)
            return entry is not None and self.recorder.record(entry, wait=wait)
        except Exception:  # noqa: BLE001 - the app's own work must not fail
            log_crash(entry)
            return False

    async def arecord(self, ending: Ending, status: int = 0, *, wait: float | None = None) -> bool:
        """
        Same as `record`, but does not block the event loop.
        """
        # A cancelled request has already handed its point over, so the cancellation may pass.
        entry: Entry | None = None
        try:
            entry = self.settle(ending, status)
            if (reserved := self.withdraw(entry)) is not None:
                await self.recorder.arecord(reserved, wait=wait)
            return entry is not None and await self.recorder.arecord(entry, wait=wait)
        except Exception:  # noqa: BLE001 - the app's own work must not fail
            log_crash(entry)
            return False

    def settle(self, ending: Ending, status: int) -> Entry | None:
        """
        Decide the outcome and return what to record; `None` for nothing, or when it was settled before.
        """
        if self.settled:
            return None
        self.settled = True
        point = self._outcome(ending, status)
        self.recorded = point is not None
        if point is None and self.completes and ending != "aborted":
            # The point was skipped, or the work failed and failures are not reported: no outcome will come.
            return Forget(self.idempotency_key)
        return point

    def _outcome(self, ending: Ending, status: int) -> UsagePoint | None:
        if self.event is None or self.skipped:
            return None
        if ending == "whole":
            if not self.entered and status in _NOT_ENTERED:
                return None
            ending = "aborted" if self.aborted else "failed" if self.failed else "whole"
        succeeded = ending == "whole" and status < _FIRST_ERROR
        if self.deferred is not None:
            # Recorded without an outcome, so that work which never ends can be seen; a job that fails to pass its work
            # on leaves it deferred.
            return self.deferred if succeeded or ending == "aborted" or self.completes else None
        if self.succeeded is None and not self._tells(ending, status):
            return None
        if status in _NEVER_COUNTED or self.method in {"HEAD", "OPTIONS"}:
            return None
        succeeded = succeeded if self.succeeded is None else self.succeeded
        return self._point(succeeded=succeeded) if succeeded or self.recorder.settings.report_failures else None

    def _tells(self, ending: Ending, status: int) -> bool:
        if ending == "whole" and status == _ACCEPTED:
            self.recorder.warn_once(
                "accepted_without_defer",
                "An endpoint with a usage point answered 202 Accepted without current_usage().defer(): no usage point "
                "is recorded. Call defer(), pass the token to the job, and complete it where the work ends.",
            )
            return False
        return ending != "aborted" or self.recorder.settings.report_aborted

    def _point(self, *, succeeded: bool | None, event: Event | None = None) -> UsagePoint:
        is_production = self.recorder.settings.is_production if self.is_production is None else self.is_production
        point = UsagePoint(
            event=self.event or event or UNKNOWN_EVENT,
            host=self.resolved_host.value,
            succeeded=succeeded,
            is_still=bool(self.is_still),
            is_production=is_production,
            idempotency_key=self.idempotency_key,
            label=self.label,
            key_fingerprint=self.key_fingerprint or self.recorder.keys.fingerprint,
        )
        if not self.completes and self.reserved is None:
            self.recorder.count_host(self.resolved_host)
        return point


#: The settlement of the current request or job, set while the app's own code runs.
CURRENT: Final[ContextVar[Settlement | None]] = ContextVar("remotion_usage", default=None)


def find_settlement() -> Settlement | None:
    """
    Return the settlement of the current request or job, if there is one.
    """
    settlement = CURRENT.get()
    # A block in a generator can leave its settlement behind, when other blocks begin and end in between.
    return None if settlement is not None and settlement.is_block and settlement.settled else settlement

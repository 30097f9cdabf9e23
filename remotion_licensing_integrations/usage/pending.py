"""
The part of a settlement that apps see: the usage point of the current request or job.
"""

from __future__ import annotations

from ..errors import ConfigurationError
from ..points import Event, ResolvedHost, check_event, check_idempotency_key, check_label, check_origin, encode_token
from ..recording import null_recorder
from .mistakes import adopt_flag, logged_mistake
from .settlement import Settlement, find_settlement


class PendingUsage:
    """
    The usage point of the current request or job; the app can adjust, skip or defer it until the end.

    An unusable value is logged and ignored: a licensing mistake must not fail a request.
    """

    def __init__(self, settlement: Settlement) -> None:
        self._settlement = settlement

    @property
    def event(self) -> Event | None:
        """
        What to count, such as `"cloud-render"`; `None` until a decorated endpoint is entered.
        """
        return self._settlement.event

    @event.setter
    def event(self, value: Event) -> None:
        with logged_mistake():
            self._settlement.event = check_event(value)

    @property
    def host(self) -> str | None:
        """
        Host of the point, an origin or `None`; an assignment overrules the request.
        """
        return self._settlement.resolved_host.value

    @host.setter
    def host(self, value: str | None) -> None:
        with logged_mistake():
            host = value if value is None else check_origin("host", value)
            self._settlement.host = ResolvedHost(host, "configured")

    @property
    def succeeded(self) -> bool | None:
        """
        `None` leaves it to the response or the job's end; `True` or `False` overrules it.
        """
        return self._settlement.succeeded

    @succeeded.setter
    def succeeded(self, value: bool | None) -> None:
        self._settlement.succeeded = adopt_flag("succeeded", value)

    @property
    def is_still(self) -> bool:
        """
        Whether a still image was rendered.
        """
        return bool(self._settlement.is_still)

    @is_still.setter
    def is_still(self, value: bool) -> None:
        self._settlement.is_still = adopt_flag("is_still", value)

    @property
    def is_production(self) -> bool | None:
        """
        Whether the point may be billed; `None` leaves it to the setting.
        """
        return self._settlement.is_production

    @is_production.setter
    def is_production(self, value: bool | None) -> None:
        self._settlement.is_production = adopt_flag("is_production", value)

    @property
    def idempotency_key(self) -> str:
        """
        Names this point on every attempt; assign one of your own (a render's id) so that its repeats count once.

        It has 1 to 255 printable ASCII characters. In a job with a token it cannot be changed.
        """
        return self._settlement.idempotency_key

    @idempotency_key.setter
    def idempotency_key(self, value: str) -> None:
        with logged_mistake():
            if self._settlement.completes and value != self._settlement.key:
                msg = "idempotency_key: cannot be changed after defer()"
                raise ConfigurationError(msg)
            self._settlement.key = check_idempotency_key(value)

    @property
    def label(self) -> str | None:
        """
        Your own word for the point, such as its customer, to split reports by; 1 to 100 printable characters.

        It stays in the outbox and is never sent. `None` for none.
        """
        return self._settlement.label

    @label.setter
    def label(self, value: str | None) -> None:
        with logged_mistake():
            self._settlement.label = check_label(value)

    def skip(self) -> None:
        """
        Record nothing, for instance because the result came from a cache.
        """
        self._settlement.skipped = True

    def defer(self) -> str:
        """
        Leave the outcome open, and return a token for the place where the work ends.

        Pass it to a `conversion_job` as `usage_token`, or to `UsageRecorder.complete`. It is URL-safe and carries
        event, host, flags, idempotency key and label. Until it is completed, the outbox keeps the point as deferred.
        Where no request is counted, the token carries only the key, and the `conversion_job` supplies the rest.
        """
        return encode_token(self._settlement.defer(), known=self.event is not None)


def current_usage() -> PendingUsage:
    """
    Return the usage point of the current request or job.

    Elsewhere the result has no effect, so that code that uses it also runs in tests and scripts.
    """
    return PendingUsage(find_settlement() or Settlement(null_recorder()))

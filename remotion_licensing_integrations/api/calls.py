"""
What the synchronous and the asynchronous client share: keywords in, calls out; no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Generic, TypedDict, TypeVar, Unpack, cast

from .._support.log import logger
from .._support.masking import MASK
from ..errors import CertificateError, NoAnswerError, TransportError
from ..points import Event, Registration, Usage, check_count, check_idempotency_key, new_idempotency_key
from ..settings import DEFAULT_BASE_URL, DEFAULT_TIMEOUT, Idempotency, check_setting
from .protocol import (
    IDEMPOTENCY_HEADER,
    REGISTER_PATH,
    USAGE_PATH,
    Answer,
    Request,
    read_registration,
    read_usage,
    register_body,
    usage_body,
)

DEFAULT_MAX_ATTEMPTS: Final = 4
MAX_DELAY: Final = 15 * 60.0  # seconds
_MAX_DOUBLINGS: Final = 16  # past the cap, and far below an overflow

_T = TypeVar("_T")


class EventOptions(TypedDict, total=False):
    """
    The keywords of `LicensingClient.register_usage_event` that may be left out.
    """

    license_key: str | None
    api_key: str | None
    is_still: bool
    is_production: bool
    idempotency_key: str | None


class EventCall(EventOptions):
    """
    The keywords of `LicensingClient.register_usage_event`.
    """

    event: Event
    host: str | None
    succeeded: bool


class UsageCall(TypedDict, total=False):
    """
    The keywords of `LicensingClient.get_usage`.
    """

    license_key: str | None
    api_key: str | None
    since: datetime | float | None


class ClientOptions(TypedDict, total=False):
    """
    The keywords of `LicensingClient` that the module's functions take beside those of the call.
    """

    base_url: str
    timeout: float
    max_attempts: int
    idempotency: Idempotency
    transport: object


class OneEventCall(EventCall, ClientOptions):
    """
    The keywords of `register_usage_event`.
    """


class OneUsageCall(UsageCall, ClientOptions, total=False):
    """
    The keywords of `get_usage`.
    """


def take_options(call: OneEventCall | OneUsageCall) -> tuple[ClientOptions, Any]:
    """
    Split the keywords of a call into the client's options and the others.
    """
    options = {name: value for name, value in call.items() if name in ClientOptions.__annotations__}
    rest = {name: value for name, value in call.items() if name not in options}
    return cast("ClientOptions", options), rest


class Call(Generic[_T]):
    """
    One call: its request, how to read the answer, and how many attempts are left; no I/O.
    """

    def __init__(
        self, request: Request, read: Callable[[Answer], _T], *, max_attempts: int = 1, has_key: bool = True
    ) -> None:
        self.request = request
        self.read = read
        self._max_attempts = max_attempts
        self._has_key = has_key
        self._attempt = 1

    def delay_after(self, error: TransportError) -> float | None:
        """
        Return the seconds to wait before the next attempt: 1, 2, 4 …, at most 15 minutes; `None` to give up.

        Only a missing answer is worth a repeat within one call. A bad certificate stays bad for longer than that.
        Without an idempotency key, repeating a point that may have been counted could count it twice.
        """
        is_over = self._attempt >= self._max_attempts or isinstance(error, CertificateError)
        if is_over or (isinstance(error, NoAnswerError) and not self._has_key):
            return None
        delay = min(MAX_DELAY, 2.0 ** min(self._attempt - 1, _MAX_DOUBLINGS))
        logger.info(
            "Attempt %d of %d failed; the next one follows in %g s: %s",
            self._attempt,
            self._max_attempts,
            delay,
            error,
            extra={"action": "repeat_call"},
        )
        self._attempt += 1
        return delay


class Caller:
    """
    The base of both clients.
    """

    def __init__(
        self,
        license_key: str | None = None,
        *,
        base_url: str = DEFAULT_BASE_URL,
        timeout: float = DEFAULT_TIMEOUT,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        idempotency: Idempotency = "body",
        transport: object = None,
    ) -> None:
        self._license_key = license_key
        self._base_url: str = check_setting("base_url", base_url)
        self._timeout: float = check_setting("timeout", timeout)
        self._max_attempts = check_count("max_attempts", max_attempts)
        self._idempotency: Idempotency = check_setting("idempotency", idempotency)
        self._transport = transport
        self._is_closed = False

    def __repr__(self) -> str:
        key = None if self._license_key is None else MASK
        return f"{type(self).__name__}({key!r}, base_url={self._base_url!r}, timeout={self._timeout!r})"

    def _event_call(self, **call: Unpack[EventCall]) -> Call[Registration]:
        key = self._take_key(call)
        idempotency_key = call.pop("idempotency_key", None)
        idempotency_key = new_idempotency_key() if idempotency_key is None else check_idempotency_key(idempotency_key)
        in_body = idempotency_key if self._idempotency == "body" else None
        fields = cast("dict[str, Any]", call)
        body = register_body(license_key=key, idempotency_key=in_body, **fields)
        headers = {IDEMPOTENCY_HEADER: idempotency_key} if self._idempotency == "header" else {}
        return Call(
            Request(REGISTER_PATH, body, headers, secrets=(key,)),
            lambda answer: read_registration(answer, secrets=(key,)),
            max_attempts=self._max_attempts,
            has_key=self._idempotency != "off",
        )

    def _usage_call(self, **call: Unpack[UsageCall]) -> Call[Usage]:
        key = self._take_key(call)
        fields = cast("dict[str, Any]", call)
        request = Request(USAGE_PATH, usage_body(key, **fields), {}, secrets=(key,))
        return Call(request, lambda answer: read_usage(answer, secrets=(key,)))

    def _take_key(self, call: EventCall | UsageCall) -> str | None:
        keys = call.pop("license_key", None), call.pop("api_key", None), self._license_key
        return next((key for key in keys if key is not None), None)

    def _check_open(self) -> None:
        if self._is_closed:
            msg = f"{type(self).__name__} is closed"
            raise RuntimeError(msg)

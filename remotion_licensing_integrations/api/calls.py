"""
What the synchronous and the asynchronous client share: options in, calls out; no I/O.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final, Generic, TypedDict, TypeVar

from .._support.masking import MASK
from ..errors import ConfigurationError, NoAnswerError, TransportError
from ..points import Registration, Usage, check_idempotency_key, new_idempotency_key
from ..settings import DEFAULT_BASE_URL, Idempotency, check_setting
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
from .retry import client_delay

DEFAULT_TIMEOUT: Final = 10.0  # seconds
DEFAULT_MAX_ATTEMPTS: Final = 4

logger: Final = logging.getLogger("remotion_licensing_integrations")
_T = TypeVar("_T")


class ClientOptions(TypedDict, total=False):
    """
    The keywords of `LicensingClient` that the module's functions pass on to it.
    """

    base_url: str
    timeout: float
    max_attempts: int
    idempotency: Idempotency
    transport: object


class Call(Generic[_T]):
    """
    One call: its request, the reading of its answer, and the attempts it has; no I/O.
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
        Return the seconds to wait before the next attempt; `None` when there is none.
        """
        # Without a key a repeat of what may have been counted may count twice.
        repeatable = self._has_key or not isinstance(error, NoAnswerError)
        delay = client_delay(error, self._attempt, max_attempts=self._max_attempts) if repeatable else None
        if delay is not None:
            logger.info(
                "Attempt %d of %d failed, next one in %g s: %s",
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
    What both clients share: options in, calls out.
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
        self._max_attempts = _check_max_attempts(max_attempts)
        self._idempotency: Idempotency = check_setting("idempotency", idempotency)
        self._transport = transport
        self._is_closed = False

    def __repr__(self) -> str:
        key = None if self._license_key is None else MASK
        return f"{type(self).__name__}({key!r}, base_url={self._base_url!r}, timeout={self._timeout!r})"

    def _register_call(
        self,
        *,
        license_key: str | None,
        api_key: str | None,
        idempotency_key: str | None,
        event: str,
        host: str | None,
        succeeded: bool,
        is_still: bool,
        is_production: bool,
    ) -> Call[Registration]:
        key = _first(license_key, api_key, self._license_key)
        idempotency_key = new_idempotency_key() if idempotency_key is None else check_idempotency_key(idempotency_key)
        body = register_body(
            license_key=key,
            event=event,
            host=host,
            succeeded=succeeded,
            is_still=is_still,
            is_production=is_production,
            idempotency_key=idempotency_key if self._idempotency == "body" else None,
        )
        headers = {IDEMPOTENCY_HEADER: idempotency_key} if self._idempotency == "header" else {}
        return Call(
            Request(REGISTER_PATH, body, headers, secrets=(key,)),
            lambda answer: read_registration(*answer, secrets=(key,)),
            max_attempts=self._max_attempts,
            has_key=self._idempotency != "off",
        )

    def _usage_call(
        self, *, license_key: str | None, api_key: str | None, since: datetime | float | None
    ) -> Call[Usage]:
        key = _first(license_key, api_key, self._license_key)
        request = Request(USAGE_PATH, usage_body(key, since), {}, secrets=(key,))
        return Call(request, lambda answer: read_usage(*answer, secrets=(key,)))

    def _check_open(self) -> None:
        if self._is_closed:
            msg = f"{type(self).__name__} is closed"
            raise RuntimeError(msg)


def _first(*keys: str | None) -> str | None:
    return next((key for key in keys if key is not None), None)


def _check_max_attempts(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    msg = f"max_attempts: expected a whole number from 1, got {value!r:.80}"
    raise ConfigurationError(msg)

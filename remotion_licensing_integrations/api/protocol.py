"""
The wire format of Remotion's licensing API, without I/O: what to send, and what an answer means.

Requests are byte-equal to those of the npm package `@remotion/licensing` (recorded in `tests/golden`); only the
idempotency key is added at their end, see https://www.remotion.dev/docs/licensing/register-usage-event.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast

from .._support.log import logger
from .._support.masking import mask
from ..errors import (
    APIError,
    ConfigurationError,
    EndpointError,
    KeyRefusedError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from ..points import Event, EventCount, Registration, Usage, utc_now
from .dates import parse_http_date

REGISTER_PATH: Final = "/api/track/register-usage-point"
USAGE_PATH: Final = "/api/track/get-usage"
#: The API does not publish where the idempotency key goes; this is the header's name when it is not in the body.
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"

MAX_RETRY_AFTER: Final = 3600.0  # seconds
MAX_ERROR_TEXT: Final = 2000  # characters of an answer kept on an exception
_MAX_SHOWN: Final = 200  # characters of an answer quoted in a message

#: What the API says when it refuses a key; the status of such an answer is not documented.
_KEY_REFUSALS: Final = ("Invalid API key", "Secret API key passed", "Public API key")
_CLASSES: Final[dict[int, type[APIError]]] = {
    **dict.fromkeys((401, 402, 403), KeyRefusedError),
    **dict.fromkeys((404, 405, 410), EndpointError),
    **dict.fromkeys((400, 413, 415, 422), RefusedError),
    429: ThrottledError,
}

_NOT_JSON: Final = object()  # stands for a body that is not JSON, as `None` is JSON's null


@dataclass(frozen=True, slots=True)
class Request:
    """
    A POST to the licensing API. Its representation has no key: error trackers show the variables of each call.

    Attributes:
        path: Path below the base URL, from `/`.
        body: JSON.
        headers: Headers besides those of every request.
        secrets: Licence keys in the body, to mask in errors.
    """

    path: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    secrets: tuple[str | None, ...] = field(default=(), repr=False)


class Answer(NamedTuple):
    """
    An HTTP answer as it came from the wire.

    Attributes:
        status: HTTP status code.
        headers: One value for each name.
        body: The first 64 KB, decompressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def register_body(
    *,
    license_key: str | None,
    event: Event,
    host: str | None,
    succeeded: bool,
    is_still: bool = False,
    is_production: bool = True,
    idempotency_key: str | None = None,
) -> bytes:
    """
    Return the request body that registers a usage point; nothing is validated, as in the npm package.

    The keywords are those of `LicensingClient.register_usage_event`; an *idempotency_key* becomes the last field.
    """
    fields: dict[str, object] = {
        "event": event,
        "apiKey": license_key,
        "host": host,
        "succeeded": succeeded,
        "isStill": is_still,
        "isProduction": is_production,
    }
    if idempotency_key is not None:
        fields["idempotencyKey"] = idempotency_key
    return _to_json(fields)


def usage_body(license_key: str | None, since: datetime | float | None = None) -> bytes:
    """
    Return the request body that asks for usage, with the keywords of `LicensingClient.get_usage`.

    Raises:
        ConfigurationError: *since* is neither an aware datetime nor a number.
    """
    return _to_json({"apiKey": license_key, "since": _milliseconds(since)})


def _to_json(value: object) -> bytes:
    # With `backslashreplace` a lone surrogate becomes the six characters that JSON.stringify writes.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _milliseconds(since: object) -> float | None:
    if since is None:
        return None
    if isinstance(since, datetime) and since.tzinfo is not None:
        return (since - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if isinstance(since, float):
        # JSON.stringify writes NaN and the infinities as null, and whole numbers without a fraction.
        return int(since) if since.is_integer() else since if math.isfinite(since) else None
    if isinstance(since, int) and not isinstance(since, bool):
        return since
    msg = f"since: expected an aware datetime or epoch milliseconds, got {since!r:.80}"
    raise ConfigurationError(msg)


def read_registration(
    answer: Answer, *, secrets: Iterable[str | None] = (), now: datetime | None = None
) -> Registration:
    """
    Return what the API says about a registered usage point.

    A truthy `success` counts under every status, as in the npm package, except a redirect's.

    Args:
        answer: The answer from the wire.
        secrets: Licence keys to mask in the error.
        now: The moment a `Retry-After` date is compared with; by default the current time.

    Raises:
        APIError: The answer is no success; the subclass says what to do.
    """
    reading = _Reading(answer, secrets, now)
    if not reading.is_success():
        raise reading.error(reading.unexpected() or reading.error_text)
    billable, classification = reading.fields.get("billable"), reading.fields.get("classification")
    return Registration(
        billable=None if billable is None else bool(billable),
        classification=classification if isinstance(classification, str) else None,
    )


def read_usage(answer: Answer, *, secrets: Iterable[str | None] = ()) -> Usage:
    """
    Same as `read_registration`, but for the answer to a usage request.

    `web_renders` is read from the field `webcodecConversions`, as in the npm package.
    """
    reading = _Reading(answer, secrets)
    if not reading.is_success():
        raise reading.error(reading.error_text)
    cloud, web = (_count(reading.fields.get(name)) for name in ("cloudRenders", "webcodecConversions"))
    if cloud is None or web is None:
        message = "the usage counts are missing or not whole numbers"
        raise reading.error(message, UnavailableError)
    return Usage(cloud_renders=cloud, web_renders=web, webcodec_conversions=web)


def _count(value: object) -> EventCount | None:
    counts = [_fields(value).get(name) for name in ("billable", "development", "failed")]
    if not all(isinstance(count, int) and not isinstance(count, bool) for count in counts):
        return None
    return EventCount(*cast("list[int]", counts))


class _Reading:
    """
    An answer taken apart: its JSON, and the error to raise when it is no success.
    """

    def __init__(self, answer: Answer, secrets: Iterable[str | None], now: datetime | None = None) -> None:
        self._secrets = tuple(secrets)
        self._status = answer.status
        self._is_ok = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
        self._is_redirect = HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST
        self._text = answer.body.decode("utf-8-sig", "replace")
        self._json = _parse(self._text)
        self._headers = {name.lower(): value for name, value in answer.headers.items()}
        self._retry_after = parse_retry_after(self._headers.get("retry-after"), now=now or utc_now())
        self.fields = _fields(self._json)
        error = self.fields.get("error")
        self.error_text = error if isinstance(error, str) else None

    def is_success(self) -> bool:
        # An empty list or object is true in JavaScript.
        success = self.fields.get("success")
        if self._is_redirect or not (success or isinstance(success, (list, dict))):
            return False
        if self._status >= HTTPStatus.BAD_REQUEST:
            logger.warning(
                "The licensing API reported success with HTTP %d.",
                self._status,
                extra={"action": "success_despite_status"},
            )
        return True

    def unexpected(self) -> str | None:
        # The npm package's words for JSON without success under a successful status.
        if self._is_ok and self._json is not _NOT_JSON:
            return f"Unexpected response from server: {_to_json(self._json).decode()}"
        return None

    def error(self, message: str | None, cls: type[APIError] | None = None) -> APIError:
        # Masked before anything is cut: half a key is still a secret.
        body = mask(self._text, self._secrets)
        if message is None or self._is_redirect:
            message = self._describe(body)
        return (cls or self._class())(
            mask(message, self._secrets)[:MAX_ERROR_TEXT],
            status=self._status,
            body=body[:MAX_ERROR_TEXT],
            retry_after=self._retry_after,
        )

    def _class(self) -> type[APIError]:
        if self._is_redirect:
            return EndpointError
        if any(refusal in (self.error_text or "") for refusal in _KEY_REFUSALS):
            return KeyRefusedError
        if self._status == HTTPStatus.SERVICE_UNAVAILABLE and self._retry_after is not None:
            return ThrottledError
        # Only an explicit `success` is the API's refusal: an object without it came from another server.
        if self._is_ok and "success" in self.fields:
            return RefusedError
        return _CLASSES.get(self._status, UnavailableError)

    def _describe(self, body: str) -> str:
        if self._is_redirect:
            location = mask(self._headers.get("location", "nowhere"), self._secrets)
            return f"redirect to {location!r:.{_MAX_SHOWN}} not followed"
        if not body:
            return "the answer is empty"
        return f"the answer {'is not JSON' if self._json is _NOT_JSON else 'has no error text'}: {body!r:.{_MAX_SHOWN}}"


def _parse(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _refuse_constant(name: str) -> None:
    # Python reads NaN and Infinity, JSON has neither.
    raise ValueError(name)


def _fields(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """
    Return the seconds a `Retry-After` header asks to wait, from 0 to 3,600; `None` when it says nothing usable.

    Beyond RFC 9110 it takes what servers really send: decimals, numeric time zones, numbers of any length.

    Args:
        value: The header; `None` when absent.
        now: The moment an HTTP date is compared with, aware.
    """
    value = (value or "").strip(" \t")
    if _NUMBER.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER)
    date = parse_http_date(value)
    return None if date is None else min(max((date - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


_NUMBER: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+|inf(?:inity)?)", re.IGNORECASE | re.ASCII)

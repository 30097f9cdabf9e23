"""
The wire format of Remotion's licensing API, without I/O: what to send, and what an answer means.

Requests are byte-equal to those of the npm package `@remotion/licensing` (recorded in `tests/golden`); only the
idempotency key is added at their end, see https://www.remotion.dev/docs/licensing/register-usage-event.
"""

from __future__ import annotations

import json
import logging
import math
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, cast

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
from ..points import EventCount, Registration, Usage, utc_now
from .retry import parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REGISTER_PATH: Final = "/api/track/register-usage-point"
USAGE_PATH: Final = "/api/track/get-usage"
#: The API does not publish where the idempotency key goes; this is the header's name when it is not in the body.
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"

MAX_ERROR_TEXT: Final = 2000  # characters of an answer kept on an exception
_MAX_SHOWN: Final = 200  # characters of an answer quoted in a message

#: What the API says of a key it does not take; the status that goes with it is not documented.
_KEY_REFUSALS: Final = ("Invalid API key", "Secret API key passed", "Public API key")
_CLASSES: Final[dict[int, type[APIError]]] = {
    **dict.fromkeys((401, 402, 403), KeyRefusedError),
    **dict.fromkeys((404, 405, 410), EndpointError),
    **dict.fromkeys((400, 413, 415, 422), RefusedError),
    429: ThrottledError,
}

_log: Final = logging.getLogger("remotion_licensing_integrations")


class Request(NamedTuple):
    """
    A POST to the licensing API.

    Attributes:
        path: Path below the base URL, from `/`.
        body: JSON.
        headers: Headers besides those of every request.
        secrets: Licence keys in it, to be masked in errors.
    """

    path: str
    body: bytes
    headers: Mapping[str, str]
    secrets: tuple[str | None, ...] = ()


class Answer(NamedTuple):
    """
    An HTTP answer as it came from the wire.

    Attributes:
        status: HTTP status code.
        headers: Its headers, one value each.
        body: Its first 64 KB, decompressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def register_body(
    *,
    license_key: str | None,
    event: str,
    host: str | None,
    succeeded: bool,
    is_still: bool,
    is_production: bool,
    idempotency_key: str | None = None,
) -> bytes:
    """
    Return the request body that registers a usage point.

    Nothing is validated, as in the npm package.

    Args:
        license_key: The public key, the word `"free-license"`, or `None`.
        event: What happened.
        host: What `window.location.origin` is on the frontend.
        succeeded: Whether the work succeeded.
        is_still: Whether a still image was rendered instead of a video.
        is_production: Whether the point may be billed.
        idempotency_key: Becomes the last field; `None` leaves the field out.
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
    return _to_json(fields).encode("utf-8", "backslashreplace")


def usage_body(license_key: str | None, since: datetime | float | None) -> bytes:
    """
    Return the request body that asks for usage.

    Args:
        license_key: The private key.
        since: Aware moment or epoch milliseconds; `None`: the API's default, the start of this month in UTC.

    Raises:
        ConfigurationError: *since* is a naive datetime or no moment at all.
    """
    return _to_json({"apiKey": license_key, "since": _milliseconds(since)}).encode("utf-8", "backslashreplace")


def _to_json(value: object) -> str:
    # With `backslashreplace` on encoding, a lone surrogate becomes the six characters that JSON.stringify writes.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Iterable[str | None] = (),
    now: datetime | None = None,
) -> Registration:
    """
    Return what the API says of a registered usage point.

    A truthy `success` counts whatever the status, as in the npm package; only a redirect never counts.

    Args:
        status: HTTP status code.
        headers: The answer's headers.
        body: The answer's body, decompressed.
        secrets: Licence keys to mask in the error.
        now: The moment a `Retry-After` date is compared with; by default the present.

    Raises:
        APIError: The answer is no success; the subclass says what to do.
    """
    answer = Answer(status, headers, body)
    found = _parse(body)
    if not _is_success(answer, found):
        raise _error(answer, found, _registration_message(status, found), secrets, now)
    fields = _fields(found)
    billable, classification = fields.get("billable"), fields.get("classification")
    return Registration(
        billable=None if billable is None else bool(billable),
        classification=classification if isinstance(classification, str) else None,
    )


def read_usage(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Iterable[str | None] = (),
    now: datetime | None = None,
) -> Usage:
    """
    Same as `read_registration`, but for the answer to a usage request.

    `web_renders` is read from the field `webcodecConversions`, as in the npm package.
    """
    answer = Answer(status, headers, body)
    found = _parse(body)
    if not _is_success(answer, found):
        raise _error(answer, found, _error_text(found), secrets, now)
    cloud, web = (_count(_fields(found).get(name)) for name in ("cloudRenders", "webcodecConversions"))
    if cloud is None or web is None:
        message = "the usage counts are missing or no whole numbers"
        raise _error(answer, found, message, secrets, now, kind=UnavailableError)
    return Usage(cloud_renders=cloud, web_renders=web, webcodec_conversions=web)


#: Stands for a body that is no JSON, as `None` is JSON's null.
_NOT_JSON: Final = object()


def _text(body: bytes) -> str:
    return body.decode("utf-8-sig", "replace")


def _parse(body: bytes) -> object:
    try:
        return json.loads(_text(body), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _refuse_constant(name: str) -> None:
    # Python reads NaN and Infinity, JSON has neither.
    raise ValueError(name)


def _fields(found: object) -> dict[str, object]:
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def _is_success(answer: Answer, found: object) -> bool:
    if _is_redirect(answer.status) or not _is_true(_fields(found).get("success")):
        return False
    if answer.status >= HTTPStatus.BAD_REQUEST:
        _log.warning(
            "The licensing API reports success with HTTP %d",
            answer.status,
            extra={"action": "success_despite_status"},
        )
    return True


def _is_true(value: object) -> bool:
    # An empty list or object is true in JavaScript.
    return bool(value) or isinstance(value, (list, dict))


def _is_ok(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _is_redirect(status: int) -> bool:
    return HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST


def _count(value: object) -> EventCount | None:
    counts = [_fields(value).get(name) for name in ("billable", "development", "failed")]
    if not all(isinstance(count, int) and not isinstance(count, bool) for count in counts):
        return None
    return EventCount(*cast("list[int]", counts))


def _registration_message(status: int, found: object) -> str | None:
    if _is_ok(status) and found is not _NOT_JSON:
        return f"Unexpected response from server: {_to_json(found)}"
    return _error_text(found)


def _error_text(found: object) -> str | None:
    error = _fields(found).get("error")
    return error if isinstance(error, str) else None


def _error(
    answer: Answer,
    found: object,
    message: str | None,
    secrets: Iterable[str | None],
    now: datetime | None,
    *,
    kind: type[APIError] | None = None,
) -> APIError:
    secrets = tuple(secrets)
    headers = {name.lower(): mask(value, secrets) for name, value in answer.headers.items()}
    # Masked before anything is cut: half a key is still a secret.
    body = mask(_text(answer.body), secrets)
    if message is None or _is_redirect(answer.status):
        message = _describe(answer.status, headers, body, found)
    retry_after = parse_retry_after(headers.get("retry-after"), now=now or utc_now())
    return (kind or _class_of(answer.status, found, retry_after))(
        mask(message, secrets)[:MAX_ERROR_TEXT],
        status=answer.status,
        body=body[:MAX_ERROR_TEXT],
        retry_after=retry_after,
    )


def _class_of(status: int, found: object, retry_after: float | None) -> type[APIError]:
    if _is_redirect(status):
        return EndpointError
    if any(refusal in (_error_text(found) or "") for refusal in _KEY_REFUSALS):
        return KeyRefusedError
    if status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after is not None:
        return ThrottledError
    # Only an explicit no is a refusal: an object without `success` came from something else than the API.
    if _is_ok(status) and "success" in _fields(found):
        return RefusedError
    return _CLASSES.get(status, UnavailableError)


def _describe(status: int, headers: Mapping[str, str], body: str, found: object) -> str:
    if _is_redirect(status):
        return f"redirect to {headers.get('location')!r:.{_MAX_SHOWN}} not followed"
    if not body:
        return "the answer is empty"
    what = "is not JSON" if found is _NOT_JSON else "has no error text"
    return f"the answer {what}: {body!r:.{_MAX_SHOWN}}"

"""
Asks the licensing API about a licence key; this registers nothing.

The endpoint is the one that Remotion Studio uses. Its form is known from its types only, so an answer in another form
says nothing about the key.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, cast

from .dates import parse_http_date
from .protocol import Answer, Request

VALIDATE_PATH: Final = "/api/validate-license-key"


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """
    What the API says about a licence key.

    Attributes:
        status: HTTP status code.
        date: The API's clock; `None` when it does not tell.
        location: Where a redirect leads to, which delivery does not follow; `None` for other answers.
        is_json: Whether the answer is a JSON object, as all of the API's are.
        is_valid: Whether the key is one; `None` when the answer does not say.
        has_subscription: Whether its project has an active subscription; `None` when the answer does not say.
        project: The name of its project; `None` when the answer does not say.
    """

    status: int
    date: datetime | None
    location: str | None
    is_json: bool
    is_valid: bool | None
    has_subscription: bool | None
    project: str | None


def validate_license_key(license_key: str = "", *, base_url: str, timeout: float) -> KeyAnswer:
    """
    Ask the API at *base_url* about *license_key*, over the same HTTP as delivery; an empty key asks for any answer.

    Raises:
        TransportError: No answer came within *timeout* seconds.
    """
    from .http import Connection  # noqa: PLC0415 - the HTTP library loads on the first call, not at import

    body = json.dumps({"licenseKey": license_key}).encode()
    with closing(Connection(base_url, timeout)) as connection:
        return read_key_answer(connection.send(Request(VALIDATE_PATH, body, {}, secrets=(license_key,))))


def read_key_answer(answer: Answer) -> KeyAnswer:
    """
    Return what *answer* says about the key; every answer says something.
    """
    headers = {name.lower(): value for name, value in answer.headers.items()}
    fields = _read_fields(answer.body)
    is_valid, has_subscription, project = (
        (fields or {}).get(name) for name in ("isValid", "hasActiveSubscription", "projectName")
    )
    is_redirect = HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST
    return KeyAnswer(
        status=answer.status,
        date=parse_http_date(headers.get("date", "")),
        location=headers.get("location", "nowhere") if is_redirect else None,
        is_json=fields is not None,
        is_valid=is_valid if isinstance(is_valid, bool) else None,
        has_subscription=has_subscription if isinstance(has_subscription, bool) else None,
        project=project if isinstance(project, str) else None,
    )


def _read_fields(body: bytes) -> dict[str, Any] | None:
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None

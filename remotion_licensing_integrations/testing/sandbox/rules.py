"""
What the licensing API documents, as pure functions: which requests it takes, and how it classifies a usage point.

Status codes are not documented, only some error texts are; the codes here are our choice. So are these readings:

- "localhost or similar" is what `points.is_local` says, so that the sandbox agrees with the package's warnings;
- a usage point without a host (`null`) counts as billable, as Remotion's own test expects;
- the idempotency key may come as the body field `idempotencyKey` or as the header `Idempotency-Key`.

Source: https://www.remotion.dev/docs/licensing
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NoReturn, cast

from ...points import EVENTS, MAX_KEY_LENGTH, is_local
from ...settings import FREE_LICENSE

Classification = Literal["billable", "development", "failed"]
CLASSIFICATIONS: Final = ("billable", "development", "failed")
MAX_AGE: Final = timedelta(days=90)


class Refusal(Exception):  # noqa: N818 - an answer of the API, not an error of ours
    """
    The API answers this request with an error: its status and its text.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, kw_only=True, slots=True)
class PointRequest:
    """
    A valid request to register a usage point; `project` names the licence key without revealing it.
    """

    project: str
    event: str
    host: str | None
    succeeded: bool
    is_still: bool
    is_production: bool
    idempotency_key: str | None

    @property
    def classification(self) -> Classification:
        """
        How the point counts.
        """
        if not self.succeeded:
            return "failed"
        if not self.is_production or (self.host is not None and is_local(self.host)):
            return "development"
        return "billable"


def read_json(raw: bytes) -> dict[str, Any]:
    """
    Return the JSON object in *raw*.

    Raises:
        Refusal: It is not one.
    """
    try:
        body: object = json.loads(raw.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "body: expected JSON in UTF-8") from error
    if not isinstance(body, dict):
        raise Refusal(400, "body: expected a JSON object")
    return cast("dict[str, Any]", body)


def read_point(body: dict[str, Any], *, header_key: str | None = None) -> PointRequest:
    """
    Return the request to register a usage point that *body* holds.

    Args:
        body: The JSON object that was sent.
        header_key: The header `Idempotency-Key`; the body field wins over it.

    Raises:
        Refusal: A field is missing or wrong, or the licence key is refused.
    """
    if body.get("event") not in EVENTS:
        raise Refusal(400, f"event: expected one of {', '.join(EVENTS)}")
    if "host" not in body or not isinstance(body["host"], str | None):
        raise Refusal(400, "host: expected a string or null")
    return PointRequest(
        project=read_project(body),
        event=body["event"],
        host=body["host"],
        succeeded=_flag(body, "succeeded"),
        is_still=_flag(body, "isStill", default=False),
        is_production=_flag(body, "isProduction", default=True),
        idempotency_key=read_idempotency_key(body, header_key),
    )


def read_idempotency_key(body: dict[str, Any], header_key: str | None) -> str | None:
    """
    Return the idempotency key of a request, or `None` when it has none.

    Raises:
        Refusal: It is not a string of 1 to 255 characters.
    """
    key = body.get("idempotencyKey", header_key)
    absent = key is None and "idempotencyKey" not in body
    if absent or (isinstance(key, str) and 1 <= len(key) <= MAX_KEY_LENGTH):
        return key
    raise Refusal(400, f"idempotencyKey: expected a string of 1 to {MAX_KEY_LENGTH} characters")


def read_project(body: dict[str, Any]) -> str:
    """
    Return a name for the project of the public licence key in *body*; the key cannot be read from it.

    Raises:
        Refusal: The key is unknown, or a secret one.
    """
    key = _api_key(body)
    if key is None or key == FREE_LICENSE:
        return FREE_LICENSE
    if key.startswith("rm_sec_"):
        raise Refusal(401, "Secret API key passed - use public key instead")
    if key.startswith("rm_pub_") and key != "rm_pub_":
        # A fixed salt keeps the ledger readable after a restart and out of common look-up tables.
        digest = hashlib.sha256(b"remotion-licensing sandbox\0" + key.encode(errors="surrogatepass")).hexdigest()
        return f"rm_pub_…({digest[:10]})"
    raise Refusal(401, "Invalid API key")


def validate_key(body: dict[str, Any]) -> dict[str, object]:
    """
    Return what Remotion Studio is told about the public key in *body*; only the form of this answer is known.
    """
    try:
        project = read_project({"apiKey": body.get("licenseKey") or ""})
    except Refusal:
        return {"isValid": False, "hasActiveSubscription": False, "projectName": None, "projectSlug": None}
    return {"isValid": True, "hasActiveSubscription": True, "projectName": project, "projectSlug": "sandbox"}


def check_secret_key(body: dict[str, Any]) -> None:
    """
    Raise unless *body* has a secret key, as reading usage needs.

    Raises:
        Refusal: It has a public key, or none that is known.
    """
    key = _api_key(body)
    if key is not None and key.startswith("rm_pub_"):
        raise Refusal(401, "Public API key passed - use secret key instead")
    if key is None or not key.startswith("rm_sec_") or key == "rm_sec_":
        raise Refusal(401, "Invalid API key")


def read_since(body: dict[str, Any], *, now: datetime) -> datetime:
    """
    Return the moment to count from: the start of the month in UTC unless *body* says otherwise.

    Raises:
        Refusal: `since` is not in epoch milliseconds, or lies more than 90 days back.
    """
    since = body.get("since")
    if since is None:
        return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    is_number = isinstance(since, int | float) and not isinstance(since, bool)
    if not is_number or since != since:  # noqa: PLR0124 - NaN; `math.isnan` takes no whole number of 400 digits
        raise Refusal(400, "since: expected epoch milliseconds or null")
    if since < (now - MAX_AGE).timestamp() * 1000:
        raise Refusal(400, "Cannot query usage older than 90 days")
    # A moment in the future counts nothing, however far away it is.
    return datetime.fromtimestamp(min(since, (now.timestamp() + 1) * 1000) / 1000, UTC)


def _api_key(body: dict[str, Any]) -> str | None:
    key = body.get("apiKey")
    if not isinstance(key, str | None):
        raise Refusal(400, "apiKey: expected a string or null")
    return key


def _flag(body: dict[str, Any], name: str, *, default: bool | None = None) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise Refusal(400, f"{name}: expected true or false")
    return value


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is not JSON"
    raise ValueError(msg)

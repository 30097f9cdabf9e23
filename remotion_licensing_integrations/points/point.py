"""
The values that pass through the package: what is counted, and what the licensing API says about it.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias, get_args

from .._support.masking import mask
from ..errors import ConfigurationError

#: What the licensing API counts; `webcodec-conversion` is a deprecated alias of `web-render`.
#: Source: https://www.remotion.dev/docs/licensing/register-usage-event
Event: TypeAlias = Literal["web-render", "cloud-render", "webcodec-conversion"]
EVENTS: Final[tuple[Event, ...]] = get_args(Event)

MAX_HOST_LENGTH: Final = 300  # characters
MAX_KEY_LENGTH: Final = 255  # characters, the documented limit of the API
MAX_LABEL_LENGTH: Final = 100  # characters of the app's own word for a point
MAX_FINGERPRINT_LENGTH: Final = 64  # characters of a fingerprint, which tells licence keys apart
# A header, where the key may go, would lose spaces at the ends.
_KEY: Final = re.compile(rf"[!-~](?:[ -~]{{0,{MAX_KEY_LENGTH - 2}}}[!-~])?")


def new_idempotency_key() -> str:
    """
    Return a fresh key: a version 7 UUID (RFC 9562), so that keys sort by time and index pages stay hot.
    """
    # By hand, because `uuid.UUID` takes three times as long, on the event loop of each request.
    digits = f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def utc_now() -> datetime:
    """
    Return the current time, aware, in UTC.
    """
    return datetime.now(UTC)


def check_event(event: object) -> Event:
    """
    Return *event* when the API knows it.

    Raises:
        ConfigurationError: The API does not know it.
    """
    if event in EVENTS:
        return EVENTS[EVENTS.index(event)]
    msg = f"event: {mask(repr(event)):.80} is not one of {', '.join(map(repr, EVENTS))}"
    raise ConfigurationError(msg)


def check_idempotency_key(key: object) -> str:
    """
    Return *key* when it is 1 to 255 printable ASCII characters without a space at its ends.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(key, str) and _KEY.fullmatch(key):
        return key
    msg = f"idempotency_key: expected 1 to {MAX_KEY_LENGTH} printable ASCII characters, got {mask(repr(key)):.80}"
    raise ConfigurationError(msg)


def check_label(label: object) -> str | None:
    """
    Return *label* when it is `None` or 1 to 100 printable characters.

    Raises:
        ConfigurationError: It is something else.
    """
    return _check_text("label", label, MAX_LABEL_LENGTH)


def _check_text(name: str, value: object, length: int) -> str | None:
    if value is None or (isinstance(value, str) and 1 <= len(value) <= length and value.isprintable()):
        return value
    msg = f"{name}: expected None or 1 to {length} printable characters, got {mask(repr(value)):.80}"
    raise ConfigurationError(msg)


def check_flag(name: str, value: object) -> bool:
    """
    Return *value*, of the field *name*, when it is `True` or `False`.

    Raises:
        ConfigurationError: It is neither.
    """
    if isinstance(value, bool):
        return value
    msg = f"{name}: expected True or False, got {mask(repr(value)):.80}"
    raise ConfigurationError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class UsagePoint:
    """
    One conversion or render, to be counted once it has finished.

    Attributes:
        event: `"cloud-render"`, `"web-render"` or its deprecated alias `"webcodec-conversion"`.
        host: What `window.location.origin` is on the frontend, at most 300 characters; `None` when unknown.
        succeeded: Whether the work succeeded; failures are not billed. `None` while the work goes on elsewhere: the
            point is deferred until another one with the same key brings the outcome.
        is_still: Whether a still image was rendered instead of a video.
        is_production: Whether the point may be billed.
        idempotency_key: Names this point on every attempt; 1 to 255 printable ASCII characters, by default a new UUID
            of version 7.
        occurred_at: When the work finished, or was deferred; aware, in UTC.
        label: The app's own word for the point, such as its customer; 1 to 100 printable characters, never sent.
        key_fingerprint: Which licence key the point is for, as 16 hexadecimal digits; `None` for any key. Never sent.

    Raises:
        ConfigurationError: A field has a value the licensing API could not take.
    """

    event: Event
    host: str | None
    succeeded: bool | None
    is_still: bool = False
    is_production: bool = True
    idempotency_key: str = field(default_factory=new_idempotency_key)
    occurred_at: datetime = field(default_factory=utc_now)
    label: str | None = None
    key_fingerprint: str | None = None

    def __post_init__(self) -> None:
        check_event(self.event)
        _check_text("host", self.host, MAX_HOST_LENGTH)
        if self.succeeded is not None:
            check_flag("succeeded", self.succeeded)
        for name in ("is_still", "is_production"):
            check_flag(name, getattr(self, name))
        check_idempotency_key(self.idempotency_key)
        if not isinstance(self.occurred_at, datetime) or self.occurred_at.tzinfo is None:
            msg = f"occurred_at: expected an aware datetime, got {self.occurred_at!r}"
            raise ConfigurationError(msg)
        check_label(self.label)
        _check_text("key_fingerprint", self.key_fingerprint, MAX_FINGERPRINT_LENGTH)

    def to_event(self) -> dict[str, Any]:
        """
        Return the keywords that register the point (`LicensingClient.register_usage_event`).

        A point without an outcome counts as failed.
        """
        return {
            "event": self.event,
            "host": self.host,
            "succeeded": bool(self.succeeded),
            "is_still": self.is_still,
            "is_production": self.is_production,
            "idempotency_key": self.idempotency_key,
        }

    def to_json(self) -> dict[str, Any]:
        """
        Return the point as JSON values; `from_json` reads them back.
        """
        return {
            **self.to_event(),
            "succeeded": self.succeeded,
            "occurred_at": self.occurred_at.isoformat(),
            "label": self.label,
            "key_fingerprint": self.key_fingerprint,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> UsagePoint:
        """
        Build a point from what `to_json` returned.

        Raises:
            ConfigurationError: A field is missing, unknown or has a bad value.
        """
        try:
            missing = cls.__dataclass_fields__.keys() - values.keys() - {"label", "key_fingerprint"}
            if missing:
                # A point without its key would get a new one, and be counted again.
                msg = f"usage point: {', '.join(sorted(missing))} is missing"
                raise ConfigurationError(msg)
            fields: dict[str, Any] = {**values, "occurred_at": datetime.fromisoformat(values["occurred_at"])}
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ConfigurationError):
                raise
            msg = f"usage point: cannot read {values!r:.200}: {error}"
            raise ConfigurationError(msg) from error


@dataclass(frozen=True, slots=True)
class Registration:
    """
    The licensing API's answer to a registered usage point.

    Attributes:
        billable: Whether the point is billed; `None` when the API did not say.
        classification: `"billable"`, `"development"` or `"failed"`, or a newer word; `None` when the API did not say.
    """

    billable: bool | None
    classification: str | None


@dataclass(frozen=True, slots=True)
class EventCount:
    """
    Usage points of one event, by classification.

    Attributes:
        billable: How many are billed.
        development: How many are not billed, because their host is local or they are not in production.
        failed: How many are not billed, because their work failed.
    """

    billable: int
    development: int
    failed: int


@dataclass(frozen=True, slots=True)
class Usage:
    """
    What the licensing API has counted.

    Attributes:
        cloud_renders: Points of `cloud-render`.
        web_renders: Points of `web-render`.
        webcodec_conversions: Deprecated alias of `web_renders`.
    """

    cloud_renders: EventCount
    web_renders: EventCount
    webcodec_conversions: EventCount

"""
The token that carries a usage point from the request that started the work to the place where the work ends.

It carries event, host, flags, idempotency key, label and the fingerprint of the licence key, so completing twice counts
once, for the right key. It is neither secret nor signed: keep it on your side (job arguments, a database), or inside
something signed.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import Any, Final

from .._support.masking import mask
from ..errors import ConfigurationError, InvalidTokenError
from .point import Event, UsagePoint

_PREFIX: Final = "ru1."  # the version; a new layout gets a new prefix
#: The event of work when neither a request nor its job names one.
UNKNOWN_EVENT: Final[Event] = "cloud-render"

# Tokens of earlier releases end with the key.
_REQUIRED: Final = ("event", "host", "is_still", "is_production", "idempotency_key")
_FIELDS: Final = (*_REQUIRED, "label", "key_fingerprint")


def encode_token(point: UsagePoint, *, known: bool = True) -> str:
    """
    Return a URL-safe string that `decode_token` turns back into *point*, except its outcome and time.

    *known* is false when no request was counted, so that the point's event is a guess.
    """
    fields = {name: getattr(point, name) for name in _FIELDS} | ({} if known else {"event": None})
    values = [*fields.values()]
    while values[-1] is None:
        values.pop()  # a token that is sent about should be short
    body = json.dumps(values, separators=(",", ":")).encode()
    checked = zlib.crc32(body).to_bytes(4, "big") + body
    return _PREFIX + base64.urlsafe_b64encode(checked).decode().rstrip("=")


def decode_token(token: str, *, succeeded: bool | None = None) -> UsagePoint:
    """
    Return the usage point of *token*, finished now with this outcome or still deferred.

    Raises:
        InvalidTokenError: *token* is damaged, cut, or of another version.
    """
    try:
        fields = _read(token)
        if fields["event"] is None:
            fields["event"] = UNKNOWN_EVENT
        return UsagePoint(**fields, succeeded=succeeded)
    except (binascii.Error, ConfigurationError, TypeError, ValueError, RecursionError) as error:
        msg = f"token: {mask(repr(token)):.60} is not a deferral token: {error}"
        raise InvalidTokenError(msg) from error


def is_known(token: str) -> bool:
    """
    Whether a readable *token* holds more than its key.
    """
    return _read(token)["event"] is not None


def _read(token: object) -> dict[str, Any]:
    if not isinstance(token, str) or not token.startswith(_PREFIX) or not token.isascii():
        msg = f"it does not start with {_PREFIX!r}"
        raise ValueError(msg)
    text = token.removeprefix(_PREFIX)
    checked = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    check, body = checked[:4], checked[4:]
    if zlib.crc32(body).to_bytes(4, "big") != check:
        msg = "its checksum is wrong"
        raise ValueError(msg)
    values = json.loads(body)
    return dict(zip(_FIELDS[: max(len(values), len(_REQUIRED))], values, strict=True))

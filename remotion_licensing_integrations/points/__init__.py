"""
What a usage point is: its values, its origin, and its two texts, the deferral token and the log line.

In come headers, arguments and texts; out go validated, frozen values.
"""

from .fingerprint import make_fingerprint
from .logline import log_point, read_point
from .origin import (
    AllowedOrigins,
    OriginHeaders,
    ResolvedHost,
    check_origin,
    is_local,
    is_origin,
    own_origin,
    resolve_host,
)
from .point import (
    EVENTS,
    MAX_FINGERPRINT_LENGTH,
    MAX_HOST_LENGTH,
    MAX_KEY_LENGTH,
    MAX_LABEL_LENGTH,
    Event,
    EventCount,
    Registration,
    Usage,
    UsagePoint,
    check_count,
    check_event,
    check_flag,
    check_idempotency_key,
    check_label,
    new_idempotency_key,
    utc_now,
)
from .token import UNKNOWN_EVENT, decode_token, encode_token, is_known

__all__ = [
    "EVENTS",
    "MAX_FINGERPRINT_LENGTH",
    "MAX_HOST_LENGTH",
    "MAX_KEY_LENGTH",
    "MAX_LABEL_LENGTH",
    "UNKNOWN_EVENT",
    "AllowedOrigins",
    "Event",
    "EventCount",
    "OriginHeaders",
    "Registration",
    "ResolvedHost",
    "Usage",
    "UsagePoint",
    "check_count",
    "check_event",
    "check_flag",
    "check_idempotency_key",
    "check_label",
    "check_origin",
    "decode_token",
    "encode_token",
    "is_known",
    "is_local",
    "is_origin",
    "log_point",
    "make_fingerprint",
    "new_idempotency_key",
    "own_origin",
    "read_point",
    "resolve_host",
    "utc_now",
]

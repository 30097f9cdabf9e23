"""
Remotion's licensing API: what goes over the wire, the HTTP beneath it, and the clients.

In come points to register and questions; out come a `Registration`, a `Usage`, or an error that says what to do.
"""

from typing import TYPE_CHECKING

from .._support.lazy import load_later
from .client import (
    AsyncLicensingClient,
    LicensingClient,
    aget_usage,
    aregister_usage_event,
    aregister_usage_point,
    get_usage,
    register_usage_event,
    register_usage_point,
)

if TYPE_CHECKING:
    from .counted import CLASSIFICATIONS, COUNTED_AS, Counted, by_event, usage_reader
    from .validity import KeyAnswer, validate_license_key
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {
            ".counted": ("CLASSIFICATIONS", "COUNTED_AS", "Counted", "by_event", "usage_reader"),
            ".validity": ("KeyAnswer", "validate_license_key"),
        },
    )

__all__ = [
    "CLASSIFICATIONS",
    "COUNTED_AS",
    "AsyncLicensingClient",
    "Counted",
    "KeyAnswer",
    "LicensingClient",
    "aget_usage",
    "aregister_usage_event",
    "aregister_usage_point",
    "by_event",
    "get_usage",
    "register_usage_event",
    "register_usage_point",
    "usage_reader",
    "validate_license_key",
]

"""
Configuration as one frozen, validated value.

In come keywords, a Django dict or the environment, of which the first wins; out goes `Settings`, or an error that names
the field and the value.
"""

from .keys import READ_EVERY, LicenseKeys
from .table import APP_VARIABLE, ENVIRONMENT, Settings, SettingsFields, check_dict, check_setting
from .takes import (
    DEFAULT_BASE_URL,
    DEFAULT_OUTBOX,
    DEFAULT_SPILL,
    DEFAULT_TIMEOUT,
    FREE_LICENSE,
    MAX_SECONDS,
    SECONDS_PER_DAY,
    DeliveryMode,
    Idempotency,
)
from .variables import find_unknown_variables

__all__ = [
    "APP_VARIABLE",
    "DEFAULT_BASE_URL",
    "DEFAULT_OUTBOX",
    "DEFAULT_SPILL",
    "DEFAULT_TIMEOUT",
    "ENVIRONMENT",
    "FREE_LICENSE",
    "MAX_SECONDS",
    "READ_EVERY",
    "SECONDS_PER_DAY",
    "DeliveryMode",
    "Idempotency",
    "LicenseKeys",
    "Settings",
    "SettingsFields",
    "check_dict",
    "check_setting",
    "find_unknown_variables",
]

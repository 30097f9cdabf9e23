"""
Register Remotion usage points from Python web apps: durable, off the request path, never twice.

This root imports no framework, opens nothing and starts nothing. The adapters are separate modules: `.starlette`,
`.fastapi`, `.asgi`, `.django`.
"""

from ._support.version import VERSION
from .api import (
    AsyncLicensingClient,
    LicensingClient,
    aget_usage,
    aregister_usage_event,
    aregister_usage_point,
    get_usage,
    register_usage_event,
    register_usage_point,
)
from .errors import (
    APIError,
    CertificateError,
    ConfigurationError,
    EndpointError,
    InvalidTokenError,
    KeyRefusedError,
    LicensingError,
    NoAnswerError,
    NotSentError,
    OutboxError,
    RefusedError,
    ThrottledError,
    TransportError,
    UnavailableError,
)
from .points import EventCount, Registration, Usage, UsagePoint
from .recording import RecorderCounts, UsageRecorder, default_recorder, set_default_recorder
from .settings import Settings
from .usage import PendingUsage, conversion, conversion_job, current_usage, usage_point

__version__ = VERSION

__all__ = [
    "APIError",
    "AsyncLicensingClient",
    "CertificateError",
    "ConfigurationError",
    "EndpointError",
    "EventCount",
    "InvalidTokenError",
    "KeyRefusedError",
    "LicensingClient",
    "LicensingError",
    "NoAnswerError",
    "NotSentError",
    "OutboxError",
    "PendingUsage",
    "RecorderCounts",
    "RefusedError",
    "Registration",
    "Settings",
    "ThrottledError",
    "TransportError",
    "UnavailableError",
    "Usage",
    "UsagePoint",
    "UsageRecorder",
    "aget_usage",
    "aregister_usage_event",
    "aregister_usage_point",
    "conversion",
    "conversion_job",
    "current_usage",
    "default_recorder",
    "get_usage",
    "register_usage_event",
    "register_usage_point",
    "set_default_recorder",
    "usage_point",
]

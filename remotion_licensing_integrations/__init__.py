"""
Register Remotion usage points from Python web apps: durable, off the request path, never twice.

A usage point goes through the folders in this order; each `__init__.py` says what comes in and what goes out:

    usage/       a request, job or block has ended: does it count, and how?             settlement.py
    recording/   one writer thread has it committed; a response waits 0.25 s at most    recorder.py, writer.py
    outbox/      it is durable: in a file, a server, Django's database or memory        contract.py, sql.py
    delivery/    it is claimed, sent, and updated by its answer; or delivery pauses     deliverer.py, verdicts.py
    api/         one HTTP call of the licensing API, and what its answer means          protocol.py, http.py

Beside the way: points/ (values, origins, tokens), settings/, errors.py, webhooks.py (Remotion Lambda), operations/
(the command line, metrics, health), dashboard/ (a page), testing/ (the sandbox, a pytest plugin), _support/ (a cellar).

    a new web framework    a file like asgi.py or wsgi.py, or a package like django/, over `usage.Settlement`
    a new database         its SQL in outbox/statements/, and its driver in outbox/drivers/
    a new job queue        usage/queues.py when it runs jobs that count; django/enqueuer.py is for one that delivers
    a new setting          settings/table.py, twice: `SettingsFields` and `Settings`
    a new command          a `@command` function in operations/, listed in `cli.COMMANDS`
    a finding of `doctor`  operations/doctor/, or an outbox's `examine`; and its row in docs/reference/doctor.md
    a reason to pause      delivery/verdicts.py; a new kind of answer: api/protocol.py and errors.py

This root imports no framework, opens nothing and starts nothing. Adapters are modules of their own: `.asgi`,
`.starlette`, `.fastapi`, `.wsgi`, `.flask`, `.django`. Public are this root, the adapters, and what
docs/reference/import-paths.md lists beside them; everything else is private, with or without an underscore.
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
from .points import Event, EventCount, Registration, Usage, UsagePoint
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
    "Event",
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

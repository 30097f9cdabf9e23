"""
The errors that this package raises.

One class for each *reaction* a caller can have; whether a repeat can help is a property of the class.

```
LicensingError
├── ConfigurationError      fix the setting (also a ValueError)
├── OutboxError             fix the storage
├── InvalidTokenError       the deferral token is damaged or foreign (also a ValueError)
├── TransportError          no answer arrived
│   ├── NotSentError        nothing was counted: repeat freely
│   │   └── CertificateError    fix the certificate or `base_url`
│   └── NoAnswerError       may have been counted: repeat only with the same idempotency key
└── APIError                an answer arrived
    ├── KeyRefusedError     fix the licence key
    ├── RefusedError        this request is wrong: do not repeat it
    ├── EndpointError       fix `base_url`
    ├── ThrottledError      wait `retry_after` seconds
    └── UnavailableError    repeat later
```
"""

from __future__ import annotations


class LicensingError(Exception):
    """
    Base of all errors of this package.
    """


class ConfigurationError(LicensingError, ValueError):
    """
    A setting or argument is unusable; the message names the field and the value (secrets masked). Fix it.
    """


class OutboxError(LicensingError):
    """
    The store refused to read or write usage points; the message says what to fix.
    """


class InvalidTokenError(LicensingError, ValueError):
    """
    A deferral token is damaged, or not one that `PendingUsage.defer()` made: nothing is completed.
    """


class TransportError(LicensingError):
    """
    The licensing API gave no answer; the subclasses say whether it may have counted the point.
    """


class NotSentError(TransportError):
    """
    The request was not sent: name lookup, connection or TLS handshake failed.

    Nothing was counted, so a repeat is always safe.
    """


class CertificateError(NotSentError):
    """
    The server's certificate is not valid for `base_url`; a repeat cannot help until one of the two is fixed.
    """


class NoAnswerError(TransportError):
    """
    The request was sent, then the connection broke or the time ran out.

    The usage point may or may not have been counted: repeat it with the same idempotency key only.
    """


class APIError(LicensingError):
    """
    The licensing API answered, but without success.

    Attributes:
        status: HTTP status code.
        body: The answer's text, its first 2,000 characters, licence keys masked.
        retry_after: Seconds the API asked to wait, at most 3,600, or `None`.
    """

    def __init__(self, message: str, *, status: int, body: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.args[0] or 'no error text'}"


class KeyRefusedError(APIError):
    """
    The licence key is unknown, of the wrong kind, or not allowed: no point goes through until it is changed.
    """


class RefusedError(APIError):
    """
    The API refuses this request for good; sending it again cannot help.
    """


class EndpointError(APIError):
    """
    `base_url` does not point to the licensing API: not found, method not allowed, gone, or a redirect.

    Redirects are never followed: they would carry the licence key elsewhere or report a false success.
    """


class ThrottledError(APIError):
    """
    The API asks for fewer requests; wait `retry_after` seconds before the next one.
    """


class UnavailableError(APIError):
    """
    The API cannot answer properly now (408, 409, 425, 5xx, or text that is not its JSON): repeat later.
    """

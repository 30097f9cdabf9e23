"""
Configuration as one frozen, validated value.

One table says for every setting its type, its environment variable and its default; one precedence holds everywhere:
keyword (or Django dict) over environment over default.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypedDict, Unpack, cast
from urllib.parse import urlsplit

from ._support.masking import MASK, mask, mask_url
from .errors import ConfigurationError
from .points import AllowedOrigins, check_origin

DeliveryMode = Literal["worker", "external", "inline", "off"]
Idempotency = Literal["body", "header", "off"]

DEFAULT_BASE_URL: Final = "https://www.remotion.pro"
DEFAULT_TIMEOUT: Final = 10.0  # seconds
DEFAULT_OUTBOX: Final = "sqlite:///remotion-usage.sqlite3"

#: The key that declares eligibility for Remotion's free licence; goes out as `null`, as the renderers send it.
#: Source: https://www.remotion.dev/docs/licensing
FREE_LICENSE: Final = "free-license"


class SettingsFields(TypedDict, total=False):
    """
    The settings as keywords, for the type checker.
    """

    license_key: str | None
    private_license_key: str | None
    host: str | None
    allowed_hosts: Sequence[str] | None
    is_production: bool
    base_url: str
    outbox: str
    delivery: DeliveryMode
    report_failures: bool
    report_aborted: bool
    idempotency: Idempotency
    timeout: float
    shutdown_timeout: float
    lease: float
    concurrency: int
    retention: float


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Settings:
    """
    How usage points are taken, kept and delivered.

    Attributes:
        license_key: Remotion licence key, or `"free-license"`. `None`: nothing is recorded.
        private_license_key: Key for reading usage (`get_usage`).
        host: Fixed host of every point, an origin; `None`: taken from each request.
        allowed_hosts: Origins a request may name, exact or `https://*.myapp.com`; `None`: any valid origin.
        is_production: `False` marks every point as not billable.
        base_url: Where the licensing API is.
        outbox: Where points are kept: `sqlite:///relative.sqlite3`, `sqlite:////absolute.sqlite3`,
            `postgresql+psycopg://user:password@host/database`, `mysql+pymysql://user:password@host/database`,
            `memory://`.
        delivery: `"worker"` a thread of this process, `"external"` another process, `"inline"` after each response,
            `"off"` never.
        report_failures: Whether failed conversions are recorded.
        report_aborted: Whether conversions whose client went away are recorded, as failed.
        idempotency: Where the idempotency key goes on the wire.
        timeout: Seconds for one attempt to register a point, answer included.
        shutdown_timeout: Seconds a stopping process may spend on delivering what it still can.
        lease: Seconds a claimed point belongs to its deliverer; at least three times `timeout`.
        concurrency: How many points are registered at a time by one process.
        retention: Days that registered points are kept.

    Raises:
        ConfigurationError: A value is unusable; the message names field and value.
    """

    license_key: str | None = None
    private_license_key: str | None = None
    host: str | None = None
    allowed_hosts: tuple[str, ...] | None = None
    is_production: bool = True
    base_url: str = DEFAULT_BASE_URL
    outbox: str = DEFAULT_OUTBOX
    delivery: DeliveryMode = "worker"
    report_failures: bool = True
    report_aborted: bool = False
    idempotency: Idempotency = "body"
    timeout: float = 10.0
    shutdown_timeout: float = 5.0
    lease: float = 60.0
    concurrency: int = 8
    retention: float = 30.0

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.lease < 3 * self.timeout:
            msg = f"lease: {self.lease!r} s is too short, a timeout of {self.timeout!r} s needs {3 * self.timeout:g} s"
            raise ConfigurationError(msg)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, /, **values: Unpack[SettingsFields]) -> Settings:
        """
        Build settings from keywords, then `REMOTION_…` environment variables, then the defaults.

        A keyword that is `None` and an empty variable count as not given.

        Raises:
            ConfigurationError: A value is unusable; an error in a variable names the variable.
            TypeError: A keyword is not a setting.
        """
        unknown = values.keys() - _CHECKS.keys()
        if unknown:
            msg = f"unknown setting {', '.join(sorted(unknown))}; the settings are {', '.join(_CHECKS)}"
            raise TypeError(msg)
        environ = os.environ if environ is None else environ
        given: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
        for name in _CHECKS.keys() - given.keys():
            text = environ.get(variable := ENVIRONMENT[name], "")
            if text:
                given[name] = _from_text(name, variable, text)
        return cls(**given)

    @property
    def wire_key(self) -> str | None:
        """
        The licence key as it goes to the licensing API.
        """
        return None if self.license_key == FREE_LICENSE else self.license_key

    def __repr__(self) -> str:
        shown = (f"{field.name}={self._shown(field.name)}" for field in fields(self))
        return f"Settings({', '.join(shown)})"

    def _shown(self, name: str) -> str:
        value = getattr(self, name)
        if name in _SECRETS and value is not None:
            return repr(MASK)
        return repr(mask_url(self.outbox) if name == "outbox" else value)


_SECRETS: Final = ("license_key", "private_license_key")


def _reject(name: str, value: object, expected: str) -> ConfigurationError:
    value = mask_url(value) if isinstance(value, str) else value
    shown = MASK if name in _SECRETS else f"{mask(repr(value)):.120}"
    return ConfigurationError(f"{name}: expected {expected}, got {shown}")


def _key(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise _reject(name, value, "a licence key of ASCII characters without spaces (not an example's rm_pub_…)")
    return value


def _host(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _reject(name, value, 'an origin like "https://myapp.com"')
    return check_origin(name, value)


def _origins(name: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise _reject(name, value, 'a list of origins like ["https://myapp.com"]')
    origins = tuple(cast("Iterable[object]", value))
    for origin in origins:
        if not isinstance(origin, str):
            raise _reject(name, origin, 'origins like "https://myapp.com"')
    texts = cast("tuple[str, ...]", origins)
    AllowedOrigins(texts, field=name)
    return texts


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _reject(name, value, "True or False")
    return value


def _base_url(name: str, value: object) -> str:
    if isinstance(value, str) and _is_base_url(value):
        return value.rstrip("/")
    raise _reject(name, value, "an http(s) URL without user, query or fragment")


def _is_base_url(value: str) -> bool:
    if not value.isascii() or not value.isprintable() or not set(" @?#").isdisjoint(value):
        return False
    try:
        parts = urlsplit(value)
        # Labels that are empty or too long fail here, not when the first point is sent.
        (parts.hostname or "").encode("idna")
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _outbox_url(name: str, value: object) -> str:
    scheme = value.partition(":")[0] if isinstance(value, str) else ""
    if isinstance(value, str) and scheme and "://" in value:
        return value
    raise _reject(name, value, f'a URL like "{DEFAULT_OUTBOX}"')


def _one_of(*words: str) -> Callable[[str, object], str]:
    def check(name: str, value: object) -> str:
        if value not in words:
            raise _reject(name, value, f"one of {', '.join(map(repr, words))}")
        return str(value)

    return check


def _positive(name: str, value: object) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(cast("float", value)) or cast("float", value) <= 0:
        raise _reject(name, value, "a positive number")
    return cast("float", value)


def _seconds(name: str, value: object) -> float:
    if _positive(name, value) > MAX_SECONDS:
        raise _reject(name, value, f"at most {MAX_SECONDS:g} s")
    return cast("float", value)


def _count(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_CONCURRENCY:
        raise _reject(name, value, f"a whole number from 1 to {_MAX_CONCURRENCY}")
    return value


_MAX_CONCURRENCY: Final = 64
#: What `retention`, in days, is in seconds.
SECONDS_PER_DAY: Final = 86_400

#: The longest lease an outbox can tell from a clock that went back (`outbox.base.MAX_DELAY`).
MAX_SECONDS: Final = 7_200.0

_CHECKS: Final[dict[str, Callable[[str, object], object]]] = {
    "license_key": _key,
    "private_license_key": _key,
    "host": _host,
    "allowed_hosts": _origins,
    "is_production": _flag,
    "base_url": _base_url,
    "outbox": _outbox_url,
    "delivery": _one_of("worker", "external", "inline", "off"),
    "report_failures": _flag,
    "report_aborted": _flag,
    "idempotency": _one_of("body", "header", "off"),
    "timeout": _seconds,
    "shutdown_timeout": _seconds,
    "lease": _seconds,
    "concurrency": _count,
    "retention": _positive,
}

#: Environment variable of each setting.
ENVIRONMENT: Final[dict[str, str]] = {name: f"REMOTION_LICENSING_{name.upper()}" for name in _CHECKS} | {
    "license_key": "REMOTION_LICENSE_KEY",
    "private_license_key": "REMOTION_PRIVATE_LICENSE_KEY",
}

_WORDS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def check_setting(name: str, value: object) -> Any:
    """
    Return *value* as the setting *name* takes it.

    Raises:
        ConfigurationError: The value is unusable.
    """
    return _CHECKS[name](name, value)


def _from_text(name: str, variable: str, text: str) -> object:
    check = _CHECKS[name]
    value: object = text
    if check is _flag:
        value = _WORDS.get(text.strip().lower(), text)
    elif check is _origins:
        value = [origin.strip() for origin in text.split(",") if origin.strip()]
    elif check in {_positive, _seconds, _count}:
        value = _number(text)
    try:
        return check(name, value)
    except ConfigurationError as error:
        field, _, problem = str(error).partition(":")
        msg = f"{variable} ({field}):{problem}"
        raise ConfigurationError(msg) from None


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text

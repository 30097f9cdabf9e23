"""
Configuration as one frozen, validated value.

The fields of `Settings` are the one table of settings: each has its default, its check, its environment variable and
its meaning. One precedence applies everywhere: keyword (or Django dict) over environment over default.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Final, Literal, TypedDict, TypeVar, Unpack, cast, get_args

from ._support.masking import MASK, mask, mask_url
from ._support.urls import is_base_url
from .errors import ConfigurationError
from .points import AllowedOrigins, check_origin

DeliveryMode = Literal["worker", "external", "inline", "off"]
Idempotency = Literal["body", "header", "off"]

DEFAULT_BASE_URL: Final = "https://www.remotion.pro"
DEFAULT_OUTBOX: Final = "sqlite:///remotion-usage.sqlite3"
DEFAULT_TIMEOUT: Final = 10.0  # seconds

#: Declares eligibility for the free licence (https://www.remotion.dev/docs/licensing); goes out as `null`.
FREE_LICENSE: Final = "free-license"

SECONDS_PER_DAY: Final = 86_400  # the unit of `retention`
#: The longest lease an outbox can tell from a clock that went back (`outbox.MAX_DELAY`).
MAX_SECONDS: Final = 7_200.0
_MAX_CONCURRENCY: Final = 64

_T = TypeVar("_T")


class SettingsFields(TypedDict, total=False):
    """
    The settings as keywords, for type checkers, which cannot derive them from `Settings`.
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
    max_lag: float
    retention: float


@dataclass(frozen=True, slots=True)
class _Type:
    """
    How the values of a setting are checked and read.

    Attributes:
        expected: What *accepts* accepts, in words.
        keep: Returns the value to store for an accepted one, or raises `ConfigurationError`.
        read: Reads an environment variable; text that it cannot read stays text, which *accepts* refuses.
    """

    expected: str = ""
    accepts: Callable[[object], bool] = lambda _: True
    keep: Callable[[str, object], object] = lambda _, value: value
    read: Callable[[str], object] = str
    is_secret: bool = False


def _setting(default: _T, means: str, takes: _Type, *, variable: str | None = None) -> _T:
    # Typed as its default, as `dataclasses.field` is.
    return field(default=default, metadata={"means": means, "takes": takes, "variable": variable})


def _is_key(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value)


def _is_list(value: object) -> bool:
    return value is None or (isinstance(value, Iterable) and not isinstance(value, (str, bytes)))


def _keep_origins(name: str, value: object) -> tuple[object, ...] | None:
    origins = None if value is None else tuple(cast("Iterable[object]", value))
    AllowedOrigins(origins or (), field=name)
    return origins


def _read_list(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _read_flag(text: str) -> object:
    word = text.strip().lower()
    return True if word in {"1", "true", "yes", "on"} else False if word in {"0", "false", "no", "off"} else text


def _is_outbox(value: object) -> bool:
    return isinstance(value, str) and "://" in value and not value.startswith(":")


def _is_number(value: object, most: float = sys.float_info.max) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= most


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_number(value, _MAX_CONCURRENCY)


def _read_number(text: str) -> object:
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return text


def _one_of(*words: str) -> _Type:
    return _Type(f"one of {', '.join(map(repr, words))}", words.__contains__)


_KEY: Final = _Type(
    "a licence key of ASCII characters without spaces (not an example's rm_pub_…)",
    _is_key,
    keep=lambda _, value: value or None,
    is_secret=True,
)
_HOST: Final = _Type(keep=lambda name, value: None if value is None else check_origin(name, value))
_ORIGINS: Final = _Type('a list of origins like ["https://myapp.com"]', _is_list, _keep_origins, _read_list)
_FLAG: Final = _Type("True or False", lambda value: isinstance(value, bool), read=_read_flag)
_BASE_URL: Final = _Type(
    "an http(s) URL without user, query or fragment", is_base_url, keep=lambda _, value: str(value).rstrip("/")
)
_OUTBOX: Final = _Type(f'a URL like "{DEFAULT_OUTBOX}"', _is_outbox)
_SECONDS: Final = _Type(
    f"a positive number, at most {MAX_SECONDS:g} s", partial(_is_number, most=MAX_SECONDS), read=_read_number
)
_DAYS: Final = _Type("a positive number", _is_number, read=_read_number)
_COUNT: Final = _Type(f"a whole number from 1 to {_MAX_CONCURRENCY}", _is_count, read=_read_number)
_DELIVERY: Final = _one_of(*get_args(DeliveryMode))
_IDEMPOTENCY: Final = _one_of(*get_args(Idempotency))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Settings:
    """
    The settings of recording, storage and delivery; each field says what it means.

    Raises:
        ConfigurationError: A value is unusable; the message names field and value.
    """

    license_key: str | None = _setting(
        None,
        'Your public key, or `"free-license"`. Without a key nothing is recorded, and one warning says so.',
        _KEY,
        variable="REMOTION_LICENSE_KEY",
    )
    private_license_key: str | None = _setting(
        None, "For reading usage (`remotion-licensing usage`).", _KEY, variable="REMOTION_PRIVATE_LICENSE_KEY"
    )
    host: str | None = _setting(
        None,
        "A fixed origin for every point, such as `https://myapp.com`. Without it the host comes from the request.",
        _HOST,
    )
    allowed_hosts: tuple[str, ...] | None = _setting(
        None,
        "Origins that a request may name: exact ones and patterns such as `https://*.myapp.com`. In the variable, "
        "separate them with commas.",
        _ORIGINS,
    )
    is_production: bool = _setting(True, "With `False`, no point is billable.", _FLAG)
    base_url: str = _setting(DEFAULT_BASE_URL, "Where the licensing API is.", _BASE_URL)
    outbox: str = _setting(
        DEFAULT_OUTBOX,
        "Where points are kept: `sqlite:///relative`, `sqlite:////absolute`, "
        "`postgresql+psycopg://user:password@host/database`, `mysql+pymysql://user:password@host/database`, "
        "`memory://`.",
        _OUTBOX,
    )
    delivery: DeliveryMode = _setting(
        "worker",
        "Who delivers. `worker`: a thread in each process. `external`: `remotion-licensing deliver`. `inline`: the "
        "app, after each response, for serverless. `off`: points are recorded, never sent.",
        _DELIVERY,
    )
    report_failures: bool = _setting(True, "Whether failed conversions are recorded; they are not billed.", _FLAG)
    report_aborted: bool = _setting(
        False, "Whether conversions are recorded, as failed, when the client went away.", _FLAG
    )
    idempotency: Idempotency = _setting(
        "body",
        "Where the idempotency key is sent: in the field `idempotencyKey` of the `body`, in the `header` "
        "`Idempotency-Key`, or not at all (`off`).",
        _IDEMPOTENCY,
    )
    timeout: float = _setting(DEFAULT_TIMEOUT, "Seconds for one attempt, including the whole answer.", _SECONDS)
    shutdown_timeout: float = _setting(5.0, "Seconds that a stopping process may spend on delivery.", _SECONDS)
    lease: float = _setting(
        60.0, "Seconds that a claimed point belongs to its deliverer; at least three times `timeout`.", _SECONDS
    )
    concurrency: int = _setting(8, f"Points that one process registers at a time, 1 to {_MAX_CONCURRENCY}.", _COUNT)
    max_lag: float = _setting(
        300.0,
        "Seconds that delivery may fall behind while the process is busy, before it takes half of its core.",
        _SECONDS,
    )
    retention: float = _setting(30.0, "Days that registered points are kept.", _DAYS)

    def __post_init__(self) -> None:
        for name in _TYPES:
            object.__setattr__(self, name, check_setting(name, getattr(self, name)))
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
        unknown = values.keys() - _TYPES.keys()
        if unknown:
            msg = f"unknown setting {', '.join(sorted(unknown))}; the settings are {', '.join(_TYPES)}"
            raise TypeError(msg)
        environ = os.environ if environ is None else environ
        chosen: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
        for name in _TYPES.keys() - chosen.keys():
            if text := environ.get(ENVIRONMENT[name]):
                chosen[name] = _read_variable(name, text)
        return cls(**chosen)

    @property
    def wire_key(self) -> str | None:
        """
        The licence key as it goes to the licensing API.
        """
        return None if self.license_key == FREE_LICENSE else self.license_key

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={_masked(name, getattr(self, name))!r}' for name in _TYPES)})"


_TYPES: Final[dict[str, _Type]] = {setting.name: setting.metadata["takes"] for setting in fields(Settings)}

#: Environment variable of each setting.
ENVIRONMENT: Final[dict[str, str]] = {
    setting.name: setting.metadata["variable"] or f"REMOTION_LICENSING_{setting.name.upper()}"
    for setting in fields(Settings)
}


def check_setting(name: str, value: object) -> Any:
    """
    Return *value*, checked and converted for the setting *name*.

    Raises:
        ConfigurationError: The value is unusable.
    """
    if not _TYPES[name].accepts(value):
        msg = f"{name}: expected {_TYPES[name].expected}, got {mask(repr(_masked(name, value))):.120}"
        raise ConfigurationError(msg)
    return _TYPES[name].keep(name, value)


def _masked(name: str, value: object) -> object:
    if _TYPES[name].is_secret:
        return None if value is None else MASK
    return mask_url(value) if isinstance(value, str) else value


def _read_variable(name: str, text: str) -> object:
    try:
        return check_setting(name, _TYPES[name].read(text))
    except ConfigurationError as error:
        setting, _, problem = str(error).partition(":")
        msg = f"{ENVIRONMENT[name]} ({setting}):{problem}"
        raise ConfigurationError(msg) from None

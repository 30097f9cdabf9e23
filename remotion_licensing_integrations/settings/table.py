"""
The one table of settings: each has its default, its check, its environment variable and its meaning.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypedDict, TypeVar, Unpack

from .._support.masking import MASK, mask, mask_url
from ..errors import ConfigurationError
from . import takes

_T = TypeVar("_T")


class SettingsFields(TypedDict, total=False):
    """
    The settings as keywords, for type checkers, which cannot derive them from `Settings`.
    """

    license_key: str | Callable[[], str] | None
    license_key_file: str | None
    private_license_key: str | Callable[[], str] | None
    private_license_key_file: str | None
    host: str | None
    allowed_hosts: Sequence[str] | None
    is_production: bool
    base_url: str
    outbox: str
    spill: str
    delivery: takes.DeliveryMode
    report_failures: bool
    report_aborted: bool
    idempotency: takes.Idempotency
    timeout: float
    shutdown_timeout: float
    lease: float
    concurrency: int
    max_lag: float
    retention: float


def _setting(default: _T, means: str, value: takes.Type, *, variable: str | None = None) -> _T:
    # Typed as its default, as `dataclasses.field` is.
    return field(default=default, metadata={"means": means, "takes": value, "variable": variable})


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Settings:
    """
    The settings of recording, storage and delivery; `docs/reference/settings.md` has the table of what each means.

    Raises:
        ConfigurationError: A value is unusable; the message names field and value.
    """

    license_key: str | Callable[[], str] | None = _setting(
        None,
        'Your public key, `"free-license"`, or a function that returns the key. Without any key nothing is recorded, '
        "and one warning says so.",
        takes.KEY,
        variable="REMOTION_LICENSE_KEY",
    )
    license_key_file: str | None = _setting(
        None,
        "A file that holds the public key, such as a mounted secret. A changed file needs no restart.",
        takes.KEY_FILE,
        variable="REMOTION_LICENSE_KEY_FILE",
    )
    private_license_key: str | Callable[[], str] | None = _setting(
        None,
        "For reading usage (`remotion-licensing usage`). Without a public key, points are registered with it.",
        takes.KEY,
        variable="REMOTION_PRIVATE_LICENSE_KEY",
    )
    private_license_key_file: str | None = _setting(
        None,
        "The same for the private key.",
        takes.KEY_FILE,
        variable="REMOTION_PRIVATE_LICENSE_KEY_FILE",
    )
    host: str | None = _setting(
        None,
        "A fixed origin for every point, such as `https://myapp.com`. Without it the host comes from the request.",
        takes.HOST,
    )
    allowed_hosts: tuple[str, ...] | None = _setting(
        None,
        "Origins that a request may name: exact ones and patterns such as `https://*.myapp.com`. In the variable, "
        "separate them with commas.",
        takes.ORIGINS,
    )
    is_production: bool = _setting(True, "With `False`, no point is billable.", takes.FLAG)
    base_url: str = _setting(takes.DEFAULT_BASE_URL, "Where the licensing API is.", takes.BASE_URL)
    outbox: str = _setting(
        takes.DEFAULT_OUTBOX,
        "Where points are kept: `sqlite:///relative`, `sqlite:////absolute`, on Windows `sqlite:///C:/absolute`, "
        "`postgresql+psycopg://user:password@host/database`, `mysql+pymysql://user:password@host/database`, "
        "`memory://`.",
        takes.OUTBOX,
    )
    spill: str = _setting(
        takes.DEFAULT_SPILL,
        "The file of this machine that keeps points while the outbox refuses them or does not answer: "
        "`sqlite:///relative`, `sqlite:////absolute`, or `off`. Best on another disk than a SQLite outbox.",
        takes.SPILL,
    )
    delivery: takes.DeliveryMode = _setting(
        "worker",
        "Who delivers. `worker`: a thread in each process. `external`: `remotion-licensing deliver`. `inline`: the "
        "app, after each response, for serverless. `off`: points are recorded, never sent.",
        takes.DELIVERY,
    )
    report_failures: bool = _setting(True, "Whether failed conversions are recorded; they are not billed.", takes.FLAG)
    report_aborted: bool = _setting(
        False, "Whether conversions are recorded, as failed, when the client went away.", takes.FLAG
    )
    idempotency: takes.Idempotency = _setting(
        "body",
        "Where the idempotency key is sent: in the field `idempotencyKey` of the `body`, in the `header` "
        "`Idempotency-Key`, or not at all (`off`).",
        takes.IDEMPOTENCY,
    )
    timeout: float = _setting(
        takes.DEFAULT_TIMEOUT, "Seconds for one attempt, including the whole answer.", takes.SECONDS
    )
    shutdown_timeout: float = _setting(5.0, "Seconds that a stopping process may spend on delivery.", takes.SECONDS)
    lease: float = _setting(
        60.0, "Seconds that a claimed point belongs to its deliverer; at least three times `timeout`.", takes.SECONDS
    )
    concurrency: int = _setting(
        8, f"Points that one process registers at a time, 1 to {takes.MAX_CONCURRENCY}.", takes.COUNT
    )
    max_lag: float = _setting(
        300.0,
        "Seconds that delivery may fall behind while the process is busy, before it takes half of its core.",
        takes.SECONDS,
    )
    retention: float = _setting(30.0, "Days that registered points are kept.", takes.DAYS)

    def __post_init__(self) -> None:
        for name in _TYPES:
            object.__setattr__(self, name, check_setting(name, getattr(self, name)))
        for name in ("license_key", "private_license_key"):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                msg = f"{name}_file: {name} is set, too; set one of them"
                raise ConfigurationError(msg)
        if self.lease < 3 * self.timeout:
            msg = f"lease: {self.lease!r} s is too short, a timeout of {self.timeout!r} s needs {3 * self.timeout:g} s"
            raise ConfigurationError(msg)
        if self.spill == self.outbox:
            msg = f'spill: {self.spill!r} is the outbox; name another file, or "off"'
            raise ConfigurationError(msg)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, /, **values: Unpack[SettingsFields]) -> Settings:
        """
        Build settings from keywords, then `REMOTION_…` environment variables, then the defaults.

        A keyword that is `None` and an empty variable count as not given. A keyword for a key also overrides the
        variable of the key's file, and the other way round.

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
        overridden = {name.removesuffix("_file") for name in chosen}
        overridden |= {f"{name}_file" for name in overridden}
        for name in _TYPES.keys() - chosen.keys() - overridden:
            if text := environ.get(ENVIRONMENT[name]):
                chosen[name] = _read_variable(name, text)
        return cls(**chosen)

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.masked().items())})"

    def masked(self) -> dict[str, object]:
        """
        Return the settings by name, with keys and passwords masked.
        """
        return {name: _masked(name, getattr(self, name)) for name in _TYPES}


#: What the variables of settings begin with, but for those of keys, whose names are Remotion's.
PREFIX: Final = "REMOTION_LICENSING_"
_TYPES: Final[dict[str, takes.Type]] = {setting.name: setting.metadata["takes"] for setting in fields(Settings)}

#: Environment variable of each setting.
ENVIRONMENT: Final[dict[str, str]] = {
    setting.name: setting.metadata["variable"] or f"{PREFIX}{setting.name.upper()}" for setting in fields(Settings)
}

#: The variable that names the app to the command line; it is no setting.
APP_VARIABLE: Final = "REMOTION_LICENSING_APP"


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


def check_dict(name: str, values: Mapping[str, Any], *, more: Collection[str] = ()) -> Mapping[str, Any]:
    """
    Return *values*, a framework's dict of settings by their names in upper case, when each key is one.

    Args:
        name: What the framework calls the dict.
        values: The dict; not its values, but its keys are checked.
        more: Further keys that the framework has.

    Raises:
        ConfigurationError: It is not a dict, or a key is unknown.
    """
    if not isinstance(values, Mapping):
        msg = f"{name}: expected a dict, got {type(values).__name__}"
        raise ConfigurationError(msg)
    known = {*(setting.upper() for setting in _TYPES), *more}
    unknown = sorted(str(key) for key in values if key not in known)
    if unknown:
        msg = f"{name}: unknown key {', '.join(unknown)}; the keys are {', '.join(sorted(known))}"
        raise ConfigurationError(msg)
    return values


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

"""
What a setting takes: the check of its values, and how a variable's text is read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeGuard, cast, get_args
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..points import AllowedOrigins, check_origin

DeliveryMode = Literal["worker", "external", "inline", "off"]
Idempotency = Literal["body", "header", "off"]

DEFAULT_BASE_URL: Final = "https://www.remotion.pro"
DEFAULT_OUTBOX: Final = "sqlite:///remotion-usage.sqlite3"
DEFAULT_SPILL: Final = "sqlite:///remotion-usage-spill.sqlite3"
DEFAULT_TIMEOUT: Final = 10.0  # seconds

#: Declares eligibility for the free licence (https://www.remotion.dev/docs/licensing); goes out as `null`.
FREE_LICENSE: Final = "free-license"

SECONDS_PER_DAY: Final = 86_400  # the unit of `retention`
#: The longest lease an outbox can tell from a clock that went back (`outbox.MAX_DELAY`).
MAX_SECONDS: Final = 7_200.0
MAX_CONCURRENCY: Final = 64
_MAX_KEY_FILE: Final = 4_096  # characters, so that a file that does not end fills no memory


@dataclass(frozen=True, slots=True)
class Type:
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


def is_key(value: object) -> TypeGuard[str]:
    """
    Whether *value* can be a licence key.
    """
    return isinstance(value, str) and value != "" and value.isascii() and value.isprintable() and " " not in value


def _is_key_setting(value: object) -> bool:
    # An empty text stands for no key, as an empty variable does.
    return value is None or value == "" or callable(value) or is_key(value)


def _is_path(value: object) -> bool:
    return value is None or isinstance(value, str)


def _keep_key_file(name: str, value: object) -> object:
    if value:
        read_key_file(name, str(value))  # a bad file is an error at start-up
    return value or None


def read_key_file(name: str, path: str) -> str:
    """
    Return the licence key in the file at *path*, without the spaces and line breaks around it.

    Raises:
        ConfigurationError: It cannot be read, or has no licence key; the message begins with *name*.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123 - the path comes as text
            key = file.read(_MAX_KEY_FILE).strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        msg = f"{name}: {path!r} cannot be read: {reason}"
        raise ConfigurationError(msg) from error
    if not is_key(key):
        msg = f"{name}: {path!r} does not hold a licence key; expected one line of ASCII characters without spaces"
        raise ConfigurationError(msg)
    return key


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


def _is_base_url(value: object) -> bool:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or set(" @?#") & set(value):
        return False
    try:
        parts = urlsplit(value)
        # Labels that are empty or too long fail here, not when the first point is sent.
        (parts.hostname or "").encode("idna")
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_outbox(value: object) -> bool:
    return isinstance(value, str) and "://" in value and not value.startswith(":")


def _is_spill(value: object) -> bool:
    return isinstance(value, str) and (value == "off" or value.startswith("sqlite:///"))


def _is_number(value: object, most: float = sys.float_info.max) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= most


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_number(value, MAX_CONCURRENCY)


def _read_number(text: str) -> object:
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return text


def _one_of(*words: str) -> Type:
    return Type(f"one of {', '.join(map(repr, words))}", words.__contains__)


KEY: Final = Type(
    "a licence key of ASCII characters without spaces (not an example's rm_pub_…), or a function that returns one",
    _is_key_setting,
    keep=lambda _, value: value or None,
    is_secret=True,
)
KEY_FILE: Final = Type("the path of a file", _is_path, _keep_key_file)
HOST: Final = Type(keep=lambda name, value: None if value is None else check_origin(name, value))
ORIGINS: Final = Type('a list of origins like ["https://myapp.com"]', _is_list, _keep_origins, _read_list)
FLAG: Final = Type("True or False", lambda value: isinstance(value, bool), read=_read_flag)
BASE_URL: Final = Type(
    "an http(s) URL without user, query or fragment", _is_base_url, keep=lambda _, value: str(value).rstrip("/")
)
OUTBOX: Final = Type(f'a URL like "{DEFAULT_OUTBOX}"', _is_outbox)
SPILL: Final = Type(f'a URL like "{DEFAULT_SPILL}", or "off"', _is_spill)
SECONDS: Final = Type(
    f"a positive number, at most {MAX_SECONDS:g} s", partial(_is_number, most=MAX_SECONDS), read=_read_number
)
DAYS: Final = Type("a positive number", _is_number, read=_read_number)
COUNT: Final = Type(f"a whole number from 1 to {MAX_CONCURRENCY}", _is_count, read=_read_number)
DELIVERY: Final = _one_of(*get_args(DeliveryMode))
IDEMPOTENCY: Final = _one_of(*get_args(Idempotency))

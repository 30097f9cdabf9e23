"""
The drivers of database servers: in comes a URL, out comes the driver that connects to its database.

`base` has what the outbox needs of a driver, and one module for each package has how that package does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..._support.masking import mask, mask_url
from ...errors import ConfigurationError
from .base import MAX_SILENCE, Driver

__all__ = ["MAX_SILENCE", "Driver", "load_driver"]

#: The extra that installs the driver for a URL; one driver for each kind of database, which bounds its waits.
_EXTRAS: Final = {
    **dict.fromkeys(["postgresql+psycopg", "postgresql", "postgres"], "postgresql"),
    **dict.fromkeys(["mysql+pymysql", "mysql", "mariadb+pymysql", "mariadb"], "mysql"),
}


def load_driver(url: str) -> Driver:
    """
    Return the driver for the database at *url*.

    Raises:
        ConfigurationError: No driver takes such a URL, or the driver is not installed.
    """
    scheme, marked, _ = url.partition("://")
    shown = repr(mask(mask_url(url)))
    if not marked or scheme not in _EXTRAS:
        msg = (
            f"outbox: {shown} is not a supported outbox URL; expected "
            '"sqlite:///file.sqlite3", "postgresql+psycopg://…", "mysql+pymysql://…" or "memory://"'
        )
        raise ConfigurationError(msg)
    extra = _EXTRAS[scheme]
    try:
        return _find(extra)(url)
    except ImportError as error:
        install = f'pip install "remotion-licensing-integrations[{extra}]"'
        msg = f"outbox: {shown} needs a package that is not installed ({error}): {install}"
        raise ConfigurationError(msg) from error


def _find(extra: str) -> Callable[[str], Driver]:
    if extra == "postgresql":
        from .postgresql import PsycopgDriver  # noqa: PLC0415 - psycopg is an extra

        return PsycopgDriver
    from .mysql import PyMySQLDriver  # noqa: PLC0415 - PyMySQL is an extra

    return PyMySQLDriver

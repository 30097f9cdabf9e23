"""
Mistakes of the app or of this package that must not fail the app's own work.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from .._support.log import logger
from ..errors import ConfigurationError
from ..points import UsagePoint, check_flag, log_point
from ..recording import Entry


def adopt_flag(name: str, value: object) -> bool | None:
    """
    Return *value*; when it is not a flag, log that and return `None`.
    """
    if value is None or isinstance(value, bool):
        return value
    with logged_mistake():
        check_flag(name, value)
    return None


@contextmanager
def logged_mistake() -> Generator[None]:
    """
    Log an unusable value; a licensing mistake must not fail the app's own work.
    """
    try:
        yield
    except (ConfigurationError, TypeError) as error:
        logger.error("current_usage(): %s; ignored.", error, extra={"action": "bad_adjustment"})


_reported: set[str] = set()


def report_missing_middleware(what: str, consequence: str) -> None:
    """
    Log, once for each *what*, that it has happened outside a request that the middleware handles.
    """
    if what not in _reported:
        _reported.add(what)
        logger.error(
            "%s outside a request that UsageMiddleware handles, so %s. Is UsageMiddleware installed in this app?",
            what,
            consequence,
            extra={"action": "middleware_missing"},
        )


def log_crash(entry: Entry | None = None) -> None:
    """
    Log the current exception, and its point as a line that `remotion-licensing import` reads.
    """
    logger.exception("Unexpected error while recording a usage point.", extra={"action": "record_crashed"})
    if isinstance(entry, UsagePoint):
        log_point(entry)

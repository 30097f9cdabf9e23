"""
The port to the driver of a database server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final
from urllib.parse import SplitResult, urlsplit

from ..._support.masking import mask, mask_url
from ...errors import ConfigurationError
from ..connection import Database, Session

#: Seconds that a server may be silent; a frozen one would be silent forever.
MAX_SILENCE: Final = 10
#: Seconds that a statement of a migration may take where the server would undo what is given up.
MAX_MIGRATION: Final = 600


class Driver(ABC):
    """
    Connects to the database of a URL.

    Attributes:
        database: The kind of database.
        error: What the driver raises.
        passing: Codes of errors that one transaction causes in another, so that it may be repeated.
        done: Codes of errors that a statement of a migration meets when it was run before.
        has_table: A query that counts the tables with the parameter `name`.
        secrets: What no message may show.
    """

    database: ClassVar[Database]
    error: type[Exception]
    passing: ClassVar[frozenset[object]]
    done: ClassVar[frozenset[object]] = frozenset()
    has_table: ClassVar[str]
    secrets: list[str | None]

    @abstractmethod
    def connect(self) -> Any:
        """
        Return a new connection in which each statement is a transaction, at the level READ COMMITTED.
        """

    @abstractmethod
    def code(self, error: Exception) -> object:
        """
        Return the server's code for an *error* of the driver.
        """

    @abstractmethod
    def is_lost(self, connection: Any) -> bool:
        """
        Whether *connection* has no session at the server any more.
        """

    @abstractmethod
    def check(self, connection: Any) -> None:
        """
        Raise an `OutboxError` when the server is too old, or its database cannot hold every text.
        """

    @abstractmethod
    def alone(self, connection: Any, session: Session) -> AbstractContextManager[None]:
        """
        Hold a lock for which other processes wait while the context lasts.
        """


def split_url(url: str) -> SplitResult:
    """
    Return the parts of *url*.

    Raises:
        ConfigurationError: It is not a URL, or something special in its password is not percent-encoded.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise refused_url(url, str(error)) from None
    # What follows an unescaped character of the password would be taken for the host, and shown.
    if parts.netloc.count("@") > 1 or "@" in parts.path or parts.fragment:
        raise refused_url(url, "percent-encode special characters in the password")
    return parts


def refused_url(url: str, reason: str) -> ConfigurationError:
    """
    Return the error that says why *url* cannot be used.
    """
    return ConfigurationError(f"outbox: {mask(mask_url(url))!r} cannot be used: {reason}")

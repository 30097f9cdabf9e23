"""
The file behind a ledger: append-only JSON lines.

A line is complete when its line feed is there; a half-written last line belongs to a request that never got its
answer, and is dropped. Lines reach the operating system one by one, so they survive `kill -9`, not a power cut.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ...errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINE_STARTS: Final = (b'{"point": {', b'{"repeat": ', b'{"clear": ')


class Journal:
    """
    Keeps lines in the file at *path*, after handing those it holds already to *replay*.

    Raises:
        ConfigurationError: The file holds something else than a ledger.
        OSError: The file cannot be read or written.
    """

    def __init__(self, path: Path, replay: Callable[[Any], None]) -> None:
        # Unbuffered: every line is one write call.
        self._file = path.open("ab", buffering=0)
        try:
            self._load(path, replay)
        except BaseException:
            self._file.close()
            raise

    def append(self, line: dict[str, Any]) -> None:
        """
        Write *line*.
        """
        self._file.write(json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        """
        Close the file.
        """
        self._file.close()

    def _load(self, path: Path, replay: Callable[[Any], None]) -> None:
        *lines, rest = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                replay(json.loads(line))
            except (ValueError, TypeError, KeyError, IndexError) as error:
                msg = f"file: line {number} of {path} is not a line of a sandbox ledger"
                raise ConfigurationError(msg) from error
        # Somebody else's file must never be cut.
        if not any(start.startswith(rest[: len(start)]) for start in LINE_STARTS):
            msg = f"file: {path} is not a sandbox ledger"
            raise ConfigurationError(msg)
        self._file.truncate(sum(len(line) + 1 for line in lines))

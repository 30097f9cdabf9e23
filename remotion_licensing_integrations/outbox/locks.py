"""
A lock between processes, on a file: one process at a time has it, and a process that is killed has it no longer.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

try:
    import fcntl
except ImportError:  # Windows
    _windows: Any = import_module("msvcrt")

    def _lock(descriptor: int) -> None:
        try:
            _windows.locking(descriptor, _windows.LK_NBLCK, 1)
        except PermissionError as error:  # its word for "locked by another"
            raise BlockingIOError(errno.EAGAIN, "the file is locked") from error

    def _unlock(descriptor: int) -> None:
        _windows.locking(descriptor, _windows.LK_UNLCK, 1)  # after a mere close, Windows unlocks when it has the time
else:

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


_NOT_THROUGH_A_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_SHARING_VIOLATION: Final = 32  # of Windows: another program has opened the file, so it cannot be renamed or deleted


@contextmanager
def lock_file(path: Path) -> Generator[None]:
    """
    Hold the lock of the file at *path*, which is created when it is missing, while the block runs.

    Raises:
        BlockingIOError: Another process, or another thread of this one, holds it.
        OSError: The file cannot be opened, or is a link.
    """
    descriptor = _open(path)
    try:
        _lock(descriptor)
        try:
            yield
        finally:
            _unlock(descriptor)
    finally:
        os.close(descriptor)


def is_passing(error: OSError) -> bool:
    """
    Return whether another program is the cause of *error*, so that a later try can succeed.
    """
    return isinstance(error, BlockingIOError) or getattr(error, "winerror", None) == _SHARING_VIOLATION


def _open(path: Path) -> int:
    # In a folder that others can write to, a link of theirs must not make us create a file elsewhere.
    if not _NOT_THROUGH_A_LINK and path.is_symlink():  # Windows
        raise OSError(errno.ELOOP, "Too many levels of symbolic links", str(path))
    return os.open(path, os.O_CREAT | os.O_RDONLY | _NOT_THROUGH_A_LINK, 0o600)

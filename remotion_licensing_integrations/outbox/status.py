"""
Tells which file is at a path, and how long it is, without opening it and without asking for its times.

From Linux 6.13 on, a file whose times were read gets an exact time at its next write, which takes that write's
`fdatasync` longer (https://docs.kernel.org/filesystems/multigrain-ts.html): a look at the WAL with `os.stat` after each
commit makes commits a third slower (`scripts/bench store`). `statx` asks for the inode and the length only.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

_AT_FDCWD: Final = -100
_WANTED: Final = 0x100 | 0x200  # STATX_INO | STATX_SIZE
_INODE_SIZE: Final = struct.Struct("=32xQQ88xII")  # with the device, as statx(2) lays them out
_LENGTH: Final = 256  # bytes


class Status(NamedTuple):
    """
    What is at a path.

    Attributes:
        file: What tells the file from later files at its path.
        length: In bytes.
    """

    file: tuple[int, ...]
    length: int


def _load_statx() -> Callable[[Path], Status | None] | None:
    try:
        import ctypes  # noqa: PLC0415 - not part of every Python

        # Keeps the GIL: both files are open, so the kernel answers from memory, and a busy event loop does not give the
        # GIL back soon.
        statx = ctypes.PyDLL(None).statx
    except (ImportError, AttributeError, OSError, TypeError):  # another system, or an older C library
        return None
    statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)

    def look(path: Path) -> Status | None:
        buffer = ctypes.create_string_buffer(_LENGTH)
        if statx(_AT_FDCWD, os.fsencode(path), 0, _WANTED, buffer) != 0:
            return None
        inode, length, *device = _INODE_SIZE.unpack_from(buffer)
        return Status((os.makedev(*device), inode), length)

    return look


_statx: Final = _load_statx() if sys.platform == "linux" else None


def status_of(path: Path) -> Status | None:
    """
    Return what is at *path*; `None` when that cannot be told.

    It opens nothing: closing the file again would drop the process's POSIX locks on it.
    """
    if _statx is not None and (status := _statx(path)) is not None:
        return status
    try:
        known = path.stat()
    except OSError:
        return None
    return Status((known.st_dev, known.st_ino), known.st_size)


def file_at(path: Path) -> object:
    """
    Return what tells the file at *path* from later ones; `None` when there is none.
    """
    status = status_of(path)
    return None if status is None else status.file

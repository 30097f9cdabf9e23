"""
What the system has that tests run on; a test that needs more is skipped, and says where it runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

#: Whether processes fork and get signals, and whether a file that is open can be deleted: not on Windows.
IS_POSIX = hasattr(os, "fork")
IS_LINUX = IS_POSIX and sys.platform == "linux"

_PLACES = "run it on Linux or macOS, or in a Linux container"
needs_forks = pytest.mark.skipif(not IS_POSIX, reason=f"this system has no fork: {_PLACES}")
needs_signals = pytest.mark.skipif(not IS_POSIX, reason=f"this system sends no POSIX signals: {_PLACES}")
needs_modes = pytest.mark.skipif(not IS_POSIX, reason=f"this system has no modes and owners of files: {_PLACES}")
needs_open_files_replaced = pytest.mark.skipif(
    not IS_POSIX, reason=f"this system deletes and replaces no file that is open: {_PLACES}"
)
needs_linux = pytest.mark.skipif(not IS_LINUX, reason="needs /proc and /dev of Linux: run it in a Linux container")


def make_link(path: Path, target: Path | str) -> None:
    """
    Make *path* a link to *target*, or skip the test where this user may not.
    """
    try:
        path.symlink_to(target)
    except OSError as error:
        pytest.skip(f"links cannot be made ({error}): switch on the developer mode of Windows")


def skip_without_posix(server: str) -> None:
    """
    Skip a test that needs a *server* which is started, frozen and killed here.
    """
    if not IS_POSIX:
        pytest.skip(f"{server} is run with users, sockets and signals of POSIX: {_PLACES}")

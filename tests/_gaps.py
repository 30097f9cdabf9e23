"""
Takes from this process what Windows does not have, and adds what it has instead: `scripts/test --without-posix`.

Loaded before the package is (`pytest -p tests._gaps`, or `import tests._gaps` in a program), because the package looks
at its import what there is. It stands for what the package and its tests use; pytest and the standard library keep
working. `msvcrt` does what https://docs.python.org/3/library/msvcrt.html and Microsoft's `_locking` say.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

_MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "pty", "tty", "syslog", "readline")
_NAMES = {
    os: (
        *("O_NOFOLLOW", "chown", "fork", "forkpty", "geteuid", "getuid", "major", "makedev", "minor", "mkfifo"),
        *("register_at_fork", "statvfs", "uname"),
    ),
    signal: (
        *("SIGALRM", "SIGCONT", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2"),
        *("pthread_kill", "pthread_sigmask"),
    ),
    select: ("poll", "epoll"),
    socket: ("SO_REUSEPORT",),
}
#: The tests that are left out then: those of servers and pages, and those that look at the repository.
_LEFT_OUT = re.compile(
    r"/tests/(?:adapters|django|processes)$|/test_(?:\w*page\w*|docs\w*|tutorial|architecture|repository|upgrades)\.py$"
)
_SHARING_VIOLATION = 32
_LOCK, _UNLOCK = 2, 0

_statvfs, _flock, _close = os.statvfs, fcntl.flock, os.close
_locked: set[int] = set()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """
    Leave out what needs more of POSIX than the package does.
    """
    return True if _LEFT_OUT.search(collection_path.as_posix()) else None


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def _disk_usage(path: Any) -> _Usage:
    disk = _statvfs(path)
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    return _Usage(total, total - free, free)


def _locking(descriptor: int, mode: int, number: int) -> None:
    """
    Lock or unlock *number* bytes from the file's position, as far as the package does it.
    """
    place = os.lseek(descriptor, 0, os.SEEK_CUR), number
    if place != (0, 1) or mode not in (_LOCK, _UNLOCK):
        raise NotImplementedError(place, mode)
    if mode == _UNLOCK and descriptor not in _locked:
        raise PermissionError(errno.EACCES, "Permission denied")
    try:
        _flock(descriptor, fcntl.LOCK_UN if mode == _UNLOCK else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None
    _locked.symmetric_difference_update({descriptor})


def _close_unlocked(descriptor: int) -> None:
    assert descriptor not in _locked, "unlock it first: Windows unlocks a closed file when it has the time"
    _close(descriptor)


def _refuse_open(name: str, *, both: bool) -> None:
    """
    Let `os.<name>` refuse files that this process has open, as Windows does for all that do not share their deletion.
    """
    work = getattr(os, name)

    def checked(path: Any, *others: Any, **options: Any) -> Any:
        for each in (path, *(others[:1] if both else ())):
            if not options and _is_open(each):
                error = PermissionError(errno.EACCES, "The process cannot access the file", os.fspath(each))
                error.winerror = _SHARING_VIOLATION
                raise error
        return work(path, *others, **options)

    setattr(os, name, checked)


def _is_open(path: Any) -> bool:
    real = os.path.join(os.path.realpath(os.path.dirname(os.fspath(path))), os.path.basename(os.fspath(path)))  # noqa: PTH118, PTH119, PTH120 - pathlib calls us
    with os.scandir("/proc/self/fd") as descriptors:
        for entry in descriptors:
            try:
                if os.readlink(entry.path) == real:  # noqa: PTH115 - pathlib calls us
                    return True
            except FileNotFoundError:
                continue
    return False


class _Library(ctypes.PyDLL):
    def __getattr__(self, name: str) -> Any:
        if name == "statx":
            raise AttributeError(name)
        return super().__getattr__(name)


def _make_msvcrt() -> ModuleType:
    module = ModuleType("msvcrt")
    module.locking, module.LK_NBLCK, module.LK_UNLCK = _locking, _LOCK, _UNLOCK
    return module


def _kill(process: Any) -> None:
    process.send_signal(9)


with suppress(ImportError):  # it asks for the name of the system, which stays
    import celery.platforms  # noqa: F401 - loaded with all its needs
with suppress(ImportError):  # so does the plugin of pytest that nox brings along
    import platformdirs  # noqa: F401 - loaded with all its needs

if "remotion_licensing_integrations" in sys.modules:
    raise RuntimeError("the package is loaded already and has found what is about to go")

from _pytest import tmpdir  # noqa: E402 - it asks for the user

tmpdir.get_user_id = lambda: None
for _module in _MODULES:
    sys.modules[_module] = None
for _owner, _names in _NAMES.items():
    for _name in _names:
        delattr(_owner, _name)
sys.modules["msvcrt"] = _make_msvcrt()
shutil.disk_usage = _disk_usage
subprocess.Popen.kill = _kill
ctypes.PyDLL = _Library
os.close = _close_unlocked
for _name in ("remove", "unlink", "rename", "replace"):
    _refuse_open(_name, both=_name.startswith("re") and _name != "remove")

"""
Finds problems with the place of a SQLite file, without opening it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ..errors import OutboxError
from .values import Finding

# File systems on which SQLite's shared memory does not reach the other users of a file.
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "fuse.sshfs", "ceph", "fuse.glusterfs"}
)
# File systems that end with their container or machine.
_PASSING: Final = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})
_MOUNTS: Final = Path("/proc/self/mountinfo")  # proc_pid_mountinfo(5); Linux alone has it
#: Whether files have an owner and a mode; on Windows they have lists of rights, which `os.stat` does not tell.
_HAS_MODES: Final = hasattr(os, "geteuid")

_MIN_FREE: Final = 1_048_576  # bytes; opening a WAL file on a full disk can kill the process with SIGBUS
_LITTLE_FREE: Final = 100 * 1_048_576  # bytes; room for a hundred thousand points at least


def prepare_place(path: Path) -> None:
    """
    Create the folder of the file at *path*.

    Raises:
        OSError: It cannot be created.
        OutboxError: The disk is full.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    disk = shutil.disk_usage(path.parent)
    if disk.total and disk.free < _MIN_FREE:  # a file system such as /proc has no room at all
        msg = f"outbox {path}: the disk is full, less than 1 MB is free"
        raise OutboxError(msg)


def examine_place(path: Path) -> Iterable[Finding]:
    """
    Look at the file system and at the permissions of the file at *path*, or of the folder that it will be created in.
    """
    path = path.resolve()  # SQLite, too, follows links before it names the files beside it
    folder = next(parent for parent in path.parents if parent.exists())
    if not path.exists() and not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("error", "outbox_not_creatable", f"{path} cannot be created: this user cannot write to {folder}.")
    yield from _examine_disk(path, folder)
    mode = folder.stat().st_mode
    if _HAS_MODES and mode & stat.S_IWOTH:
        yield Finding(
            "warning",
            "folder_open",
            f"{folder} is open to other users (mode {stat.S_IMODE(mode):o}), who can put a file or a link of theirs "
            f"in the place of {path.name}: use a folder that only this user can write to.",
        )
    for suffix in ("", "-wal", "-shm", "-lock"):
        file = Path(f"{path}{suffix}")
        if file.is_file():  # a folder in its place is refused when it is opened, and its mode must stay
            yield from _examine_file(file)


def _examine_disk(path: Path, folder: Path) -> Iterable[Finding]:
    file_system, disk = _file_system(path), shutil.disk_usage(folder)
    if not disk.total:
        yield Finding("error", "outbox_without_files", f"{path} cannot be created: {file_system} keeps no files.")
    elif disk.free < _LITTLE_FREE:
        yield Finding(
            "error" if disk.free < _MIN_FREE else "warning",
            "disk_full",
            f"{folder} has {disk.free / _MIN_FREE:.1f} MB free for {path.name}; below 1 MB nothing is stored. Free "
            "some space.",
        )
    if file_system in _PASSING:
        yield Finding(
            "warning",
            "outbox_passing",
            f"{path} is on {file_system}, which ends with its container or machine, and its usage points with it: use "
            "a volume or a database server.",
        )
    if file_system in _NETWORK:
        yield Finding("error", "outbox_on_network", f"{path} is on {file_system}: SQLite's WAL needs a local disk.")


def _examine_file(file: Path) -> Iterable[Finding]:
    # The file is not opened: closing it again would drop SQLite's locks.
    status = file.stat()
    if _HAS_MODES and status.st_uid != (user := os.geteuid()):
        yield Finding(
            "warning",
            "file_owner",
            f"{file} belongs to user {status.st_uid}, and this is user {user}. Run the app and all commands as one "
            "user, else one of them makes files that the other cannot use.",
        )
    if not os.access(file, os.R_OK | os.W_OK):
        yield Finding(
            "error",
            "file_not_writable",
            f"{file} is not writable for this user; change its owner or delete it when unused.",
        )
    if _HAS_MODES and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            "warning",
            "file_open",
            f"{file} is open to other users (mode {stat.S_IMODE(status.st_mode):o}); 600 is enough.",
        )


def _file_system(path: Path) -> str:
    if not _MOUNTS.exists():
        return "unknown"
    longest, file_system = "", "unknown"
    for line in os.fsdecode(_MOUNTS.read_bytes()).split("\n")[:-1]:
        before, _, after = line.partition(" - ")
        # Space, tab, line end and backslash are written as octal numbers.
        mount = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        if path.is_relative_to(mount) and len(mount) >= len(longest):
            longest, file_system = mount, after.split()[0]
    return file_system

"""
Looking for what is wrong with a set-up: `doctor`. It changes nothing and registers nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import socket
import ssl
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from ..errors import OutboxError
from ..outbox import Outbox
from ..points import is_local
from ..recording import UsageRecorder
from ..settings import ENVIRONMENT, FREE_LICENSE, Settings
from .command import command, describe_pause, plural, write
from .inspect import OVERDUE

Level = Literal["ok", "warning", "error"]

_STALE: Final = timedelta(hours=1)
_CONNECT_TIMEOUT: Final = 3.0  # seconds


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing looked at.
    """

    level: Level
    text: str


@command("doctor", "look for what is wrong with the set-up")
def doctor(_: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print findings; status 1 when one of them is an error.
    """
    findings = examine(recorder)
    for finding in findings:
        write(f"{finding.level:<8}{finding.text}")
    return 1 if any(finding.level == "error" for finding in findings) else 0


def examine(recorder: UsageRecorder) -> list[Finding]:
    """
    Look at settings, outbox, licensing API and installed packages.
    """
    settings = recorder.settings
    return [
        *_examine_key(settings),
        *_examine_host(recorder),
        *_examine_outbox(recorder),
        _examine_api(settings.base_url),
        *_examine_packages(),
    ]


def _examine_key(settings: Settings) -> Iterable[Finding]:
    key = settings.license_key
    if key is None:
        yield Finding("error", "No licence key: set REMOTION_LICENSE_KEY. Nothing is recorded without it.")
    elif key.startswith("rm_sec_"):
        yield Finding("error", "license_key is a secret key; registering usage takes the public one (rm_pub_…).")
    elif key != FREE_LICENSE and not key.startswith("rm_"):
        yield Finding("warning", "license_key does not look like a Remotion key (rm_pub_…).")
    else:
        yield Finding("ok", "A licence key is set.")


def _examine_host(recorder: UsageRecorder) -> Iterable[Finding]:
    settings = recorder.settings
    if settings.host is None and recorder.allows_host is None:
        yield Finding(
            "warning",
            "Neither host nor allowed_hosts is set: any caller can name the host of a usage point, "
            '"http://localhost" included, which is not billed. List your origins in allowed_hosts.',
        )
    if settings.is_production and settings.host and is_local(settings.host):
        yield Finding("warning", f"host is {settings.host}, a local address: its points count as development.")


def _examine_outbox(recorder: UsageRecorder) -> Iterable[Finding]:
    outbox = recorder.outbox
    try:
        if not outbox.exists():
            # Not made here: it would belong to this user, who need not be the app's.
            yield _examine_missing(outbox)
            return
        counts, pauses = outbox.counts(), outbox.pauses()
    except OutboxError as error:
        yield Finding("error", str(error))
        return
    yield Finding("ok", f"The outbox {outbox!r} can be used; {plural(counts.pending, 'point')} pending.")
    for pause in pauses:
        yield Finding("error", f"Delivery is paused: {describe_pause(pause)}")
    if counts.oldest_pending and datetime.now(UTC) - counts.oldest_pending > _STALE:
        yield Finding(
            "warning",
            f"A point has been pending since {counts.oldest_pending:%Y-%m-%d %H:%M}Z; is delivery running?",
        )
    if counts.rejected or counts.held:
        yield Finding("warning", f"Points rejected: {counts.rejected}, held: {counts.held}; see `list --state`.")
    if counts.oldest_deferred and datetime.now(UTC) - counts.oldest_deferred > OVERDUE:
        yield Finding("warning", "Points have been deferred for more than a day; see `status`. Has their work ended?")
    yield from _examine_files(outbox)


def _examine_api(base_url: str) -> Finding:
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT) as connection:
            if parts.scheme == "https":
                ssl.create_default_context().wrap_socket(connection, server_hostname=host).close()
    except OSError as error:
        return Finding("error", f"The licensing API at {base_url} is out of reach: {error}. Points are kept.")
    return Finding("ok", f"The licensing API at {base_url} can be reached.")


def _examine_packages() -> Iterable[Finding]:
    if importlib.util.find_spec("remotion_lambda") is not None:
        yield Finding(
            "warning",
            "remotion_lambda is installed: it reports renders by itself when given a licence key. "
            "Do not also count the endpoints that call it.",
        )


# The file of an outbox, which the outbox itself is to examine. To be deleted when it does, down to the end.

# File systems on which SQLite's shared memory does not reach the other users of a file.
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "fuse.sshfs", "ceph", "fuse.glusterfs"}
)
_MOUNTS: Final = Path("/proc/self/mountinfo")  # proc_pid_mountinfo(5)


def _examine_missing(outbox: Outbox) -> Finding:
    path: Path | None = getattr(outbox, "path", None)
    if path is not None:
        folder = next(parent for parent in path.parents if parent.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            return Finding("error", f"The outbox {path} cannot be made: {folder} is not writable for this user.")
    return Finding(
        "warning",
        f"There is no outbox {path or outbox} yet; the first point makes it. If the app has recorded points, it uses "
        f"another one: see {ENVIRONMENT['outbox']}.",
    )


def _examine_files(outbox: Outbox) -> Iterable[Finding]:
    path: Path | None = getattr(outbox, "path", None)
    if path is None:
        return
    path = path.resolve()  # SQLite, too, follows links before it names the files beside it
    kind = _file_system(path)
    if kind in _NETWORK:
        yield Finding("error", f"{path} is on {kind}: SQLite's WAL needs a local disk.")
    for suffix in ("", "-wal", "-shm", "-lock"):
        file = Path(f"{path}{suffix}")
        if not file.exists():
            continue
        # Looked at from outside only: opening a file that SQLite has open would drop its locks.
        mode = file.stat().st_mode
        if not os.access(file, os.R_OK | os.W_OK):
            yield Finding("error", f"{file} is not writable for this user; change its owner or delete it when unused.")
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding("warning", f"{file} is open to other users (mode {stat.S_IMODE(mode):o}); 600 is enough.")


def _file_system(path: Path) -> str:
    if not _MOUNTS.exists():
        return "unknown"
    best, kind = "", "unknown"
    for line in os.fsdecode(_MOUNTS.read_bytes()).split("\n")[:-1]:
        before, _, after = line.partition(" - ")
        # Space, tab, line end and backslash are written as octal numbers.
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind

"""
The outboxes, each in a place of its own, and how they break.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests import _mariadb, _postgresql
from tests._server_outbox import to_url

_TRIES: Final = 100
_ROOM: Final = 4 << 30  # bytes of the small disk while it is not full


@dataclass(frozen=True)
class Store:
    """
    An outbox.

    Attributes:
        environment: What the processes that use it have in their environment.
        fail: Makes it refuse; `None` when it cannot be broken here.
        recover: Ends that.
        asks: Whether a process beside the web workers can ask it.
    """

    environment: Mapping[str, str]
    fail: Callable[[], object] | None = None
    recover: Callable[[], object] = lambda: None
    asks: bool = True


@contextmanager
def sqlite(folder: Path) -> Iterator[Store]:
    """
    Have a file, for root on a disk of its own that can be full.
    """
    place = folder / "disk"
    place.mkdir()
    environment = {"REMOTION_LICENSING_OUTBOX": f"sqlite:///{place}/usage.sqlite3"}

    def mount(*words: str) -> None:
        subprocess.run(["mount", *words, str(place)], check=True, capture_output=True)

    def fill() -> None:
        # Down to what is in use; a moment later that may be more, and the system refuses.
        for _ in range(_TRIES):
            disk = os.statvfs(place)
            with suppress(subprocess.CalledProcessError):
                mount("-o", f"remount,size={(disk.f_blocks - disk.f_bfree) * disk.f_frsize}")
                return

    try:
        mount("-t", "tmpfs", "-o", f"size={_ROOM}", "soak")
    except (OSError, subprocess.CalledProcessError):
        print("This user cannot mount a disk for the outbox, so it will not be full.", flush=True)
        yield Store(environment)
        return
    try:
        yield Store(environment, fill, lambda: mount("-o", f"remount,size={_ROOM}"))
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def memory(_: Path) -> Iterator[Store]:
    """
    Have what no process shares and no kill spares, for the negative control.
    """
    yield Store({"REMOTION_LICENSING_OUTBOX": "memory://"}, asks=False)


@contextmanager
def postgresql(_: Path) -> Iterator[Store]:
    """
    Have a database in PostgreSQL.
    """
    with _postgresql.run_server(_needed(_postgresql.find_binaries()), _postgresql.DURABLE) as server:
        yield Store({"REMOTION_LICENSING_OUTBOX": to_url(server.entry)}, server.stop, server.start)


@contextmanager
def mariadb(_: Path) -> Iterator[Store]:
    """
    Have a database in MariaDB.
    """
    with _mariadb.run_server(*_needed(_mariadb.find_programs()), _mariadb.DURABLE) as server:
        yield Store({"REMOTION_LICENSING_OUTBOX": to_url(server.entry)}, server.stop, server.start)


@contextmanager
def django(_: Path) -> Iterator[Store]:
    """
    Have the database of a Django project in PostgreSQL.
    """
    with _postgresql.run_server(_needed(_postgresql.find_binaries()), _postgresql.DURABLE) as server:
        environment = {
            "DJANGO_SETTINGS_MODULE": "soak.django_project",
            "SOAK_DATABASE": json.dumps(server.entry),
            "SOAK_COMMIT_WAIT": "15",
            "REMOTION_LICENSE_KEY": "rm_pub_soak",
        }
        command = [sys.executable, "-m", "soak.command", "migrate"]
        subprocess.run(command, check=True, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
        yield Store(environment, server.stop, server.start)


def _needed(found: Any) -> Any:
    if found is None:
        sys.exit("This outbox needs a server that is not installed here.")
    return found


STORES: Final = {"sqlite": sqlite, "postgresql": postgresql, "mariadb": mariadb, "django": django}

"""
The project of `tests.django.admin_project` in servers and commands of their own processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests._environment import clean_environment
from tests.processes.servers import ServerProcess

PROJECT = "tests.django.admin_project"
KEY = "rm_pub_django"

# Asked to end while it still boots a worker, gunicorn forgets that one until this time is over, by default 30 s.
_GUNICORN = ("gunicorn", f"{PROJECT}.wsgi", "--graceful-timeout=10")
#: The command line of each server; its port comes last.
COMMANDS: dict[str, tuple[str, ...]] = {
    "gunicorn-sync": _GUNICORN,
    "gunicorn-sync-4": (*_GUNICORN, "--workers=4"),
    "gunicorn-gthread-4-preload": (*_GUNICORN, "-k", "gthread", "--threads=4", "--workers=4", "--preload"),
    "uvicorn-4": ("uvicorn", f"{PROJECT}.asgi:application", "--workers=4"),
    "runserver": ("django", "runserver"),
}
#: How each program is told its port.
LISTEN = {"gunicorn": "--bind=127.0.0.1:{}", "uvicorn": "--port={}", "django": "127.0.0.1:{}"}


def environment(database: Path | Mapping[str, Any], **changes: str) -> dict[str, str]:
    """
    Return the environment of a process over *database*, a SQLite file or an entry of `DATABASES`.

    It knows nothing of the test run: there the recorder starts no threads.
    """
    file = {"TEST_DATABASE_FILE": str(database)} if isinstance(database, (str, Path)) else {}
    entry = {"TEST_DATABASE": json.dumps(database)} if isinstance(database, Mapping) else {}
    settings = {
        "DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings",
        "PYTHONWARNINGS": "error",
        "REMOTION_LICENSE_KEY": KEY,
        "REMOTION_LICENSING_BASE_URL": "http://127.0.0.1:9",
        "REMOTION_LICENSING_DELIVERY": "off",
    }
    return clean_environment(**{**settings, **file, **entry, **changes})


def manage(*words: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """
    Start `manage.py` with *words*.
    """
    command = [sys.executable, "-m", "django", *words]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Server(ServerProcess):
    """
    The project over *database* in one of `COMMANDS`.

    Args:
        name: Which of them.
        place: Where its log goes; defaults to the folder of the database's file.
        changes: Further environment variables.
    """

    def __init__(
        self, name: str, database: Path | Mapping[str, Any], *, place: Path | None = None, **changes: str
    ) -> None:
        program = COMMANDS[name]
        listen = LISTEN[program[0]]
        super().__init__(
            lambda port: (*program, listen.format(port)),
            environment(database, **changes),
            place or Path(str(database)).parent,
        )

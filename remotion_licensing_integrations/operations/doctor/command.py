"""
The command itself, and what it tells for a bug report.
"""

from __future__ import annotations

import argparse
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from ..._support.masking import mask
from ..._support.version import VERSION
from ...outbox import Finding
from ...recording import UsageRecorder
from ..app import FoundApp
from ..command import argument, command
from ..output import plural, to_json, write
from .api import examine_api
from .app import examine_app
from .code import examine_code
from .outbox import examine_outbox, examine_spill
from .settings import examine_settings

#: What a bug report should tell the version of.
_PACKAGES: Final = (
    *("httpx", "httpx2", "starlette", "fastapi", "django", "flask", "uvicorn", "gunicorn", "celery"),
    *("psycopg", "pymysql", "remotion-lambda"),
)


@command(
    "doctor",
    "look for what is wrong with the set-up",
    argument("--check-key", action="store_true", help="also ask the licensing API about the licence key"),
    takes_any_app=True,
)
def doctor(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print findings; status 1 when one of them is an error.
    """
    findings = examine(recorder, arguments.app, check_key=arguments.check_key)
    levels = Counter(finding.level for finding in findings)
    # Also for an issue that anyone can read: an app may have put a key where no setting is.
    hide = partial(mask, secrets=(recorder.keys.current, recorder.keys.private))
    if arguments.json:
        write(hide(to_json({"findings": [*map(asdict, findings)], **_describe(recorder, arguments.app)})))
    else:
        write(*(hide(f"{finding.level:<8}{finding.text} [{finding.name}]") for finding in findings))
        write("", f"{plural(levels['error'], 'error')}, {plural(levels['warning'], 'warning')}.")
    return 1 if levels["error"] else 0


def examine(recorder: UsageRecorder, app: FoundApp | None = None, *, check_key: bool = False) -> list[Finding]:
    """
    Look at settings, app, outbox, licensing API, and the code in the current directory.

    Args:
        recorder: The app's, or one with the environment's settings.
        app: What was found in the app, if one was named.
        check_key: Whether to send the licence key to the API and ask about it.
    """
    return [
        *examine_settings(recorder),
        *(examine_app(app) if app else ()),
        *examine_outbox(recorder),
        *examine_spill(recorder),
        *examine_api(recorder, check_key=check_key),
        *examine_code(Path.cwd()),
    ]


def _describe(recorder: UsageRecorder, app: FoundApp | None) -> Mapping[str, object]:
    return {
        "version": VERSION,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "settings": recorder.settings.masked(),
        "outbox": repr(recorder.outbox),
        "app": app and {"name": app.name, "oddities": app.oddities, "endpoints": [*map(asdict, app.endpoints)]},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

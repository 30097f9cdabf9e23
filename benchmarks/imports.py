"""
What an app's start pays: milliseconds and memory of imports, and of the first point.

Each figure is from a fresh interpreter that has already done what stands before it, such as importing the framework.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .common import report
from .processes import MEASURED, pinned

ROUNDS: Final = 15


@dataclass(frozen=True)
class Step:
    """
    What is measured.

    Attributes:
        code: Is measured.
        before: Runs first.
        beside: Names the step that this one is compared with.
    """

    code: str
    before: str = "pass"
    beside: str | None = None


_DJANGO: Final = """
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    REMOTION_LICENSING={"LICENSE_KEY": "rm_pub_bench", "DELIVERY": "off"},
)
import django
django.setup()
import django.core.handlers.wsgi
import django.urls
from django.apps import apps
"""
_OUR_DJANGO: Final = """
apps.set_installed_apps([*settings.INSTALLED_APPS, "remotion_licensing_integrations.django"])
import remotion_licensing_integrations.django.middleware
"""
# The event loop is the app's own.
_LOOP: Final = """
import asyncio, sqlite3
import remotion_licensing_integrations
from remotion_licensing_integrations.asgi import UsageMiddleware

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})

async def send(message):
    pass

scope = {"type": "http", "method": "POST", "path": "/convert", "headers": [(b"host", b"myapp.com")], "scheme": "https"}
runner = asyncio.Runner()
runner.run(asyncio.sleep(0))
"""
_FIRST_POINT: Final = """
ours = UsageMiddleware(
    app,
    license_key="rm_pub_bench",
    outbox=f"sqlite:///{file}",
    delivery="off",
    endpoints={"POST /convert": "cloud-render"},
)
runner.run(ours(scope, None, send))
"""
# What a new file costs by itself.
_FIRST_ROW: Final = """
connection = sqlite3.connect(file, isolation_level=None)
for pragma in ("journal_mode=WAL", "synchronous=FULL"):
    connection.execute(f"PRAGMA {pragma}")
connection.execute("CREATE TABLE plain (text)")
connection.execute("INSERT INTO plain VALUES ('x')")
"""

STEPS: Final = {
    "starlette.applications": Step("import starlette.applications"),
    "starlette.applications again": Step("import starlette.applications", beside="starlette.applications"),
    "ours, root alone": Step("import remotion_licensing_integrations", beside="starlette.applications"),
    "ours.starlette, after starlette": Step(
        "import remotion_licensing_integrations.starlette",
        "import starlette.applications",
        "starlette.applications",
    ),
    "httpx, after starlette": Step("import httpx", "import starlette.applications", "starlette.applications"),
    "fastapi": Step("import fastapi"),
    "ours.fastapi, after fastapi": Step("import remotion_licensing_integrations.fastapi", "import fastapi", "fastapi"),
    "django, set up": Step(_DJANGO),
    "django, its apps set again": Step(
        "apps.set_installed_apps([*settings.INSTALLED_APPS])", _DJANGO, "django, set up"
    ),
    "ours.django, after the set-up": Step(_OUR_DJANGO, _DJANGO, "django, set up"),
    "a first row in a new SQLite file": Step(_FIRST_ROW, _LOOP),
    "a first row in a new SQLite file again": Step(_FIRST_ROW, _LOOP, "a first row in a new SQLite file"),
    "ours, middleware and first point": Step(_FIRST_POINT, _LOOP, "a first row in a new SQLite file"),
}

_PROBE: Final = """
import json, os, sys, time

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

before, code, file = sys.argv[1:]
code = compile(code, "code", "exec")
names = {"file": file}
exec(before, names)
megabytes, start = resident(), time.perf_counter()
exec(code, names)
seconds = time.perf_counter() - start
megabytes = resident() - megabytes
libraries = sorted({"httpx", "httpx2", "httpcore", "httpcore2"} & set(sys.modules))
print(json.dumps({"ms": seconds * 1e3, "MB": megabytes, "libraries": libraries}), flush=True)
os._exit(0)
"""


def bench_imports(folder: Path) -> None:
    """
    Import each framework and our adapter for it, and record a first point.
    """
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in STEPS}
    loaded: set[str] = set()
    # The first round fills the caches of the system, and of compiled modules.
    for number in range(ROUNDS + 1):
        for name in random.sample(list(STEPS), len(STEPS)):  # not cryptography
            answer = _measure(STEPS[name], folder, folder / f"{number}-{list(STEPS).index(name)}.sqlite3")
            if name.startswith("ours"):
                loaded.update(answer["libraries"])
            if number:
                samples[name].append(answer)
    for unit in ("ms", "MB"):
        for name, step in STEPS.items():
            reference = [each[unit] for each in samples[step.beside]] if step.beside else []
            report(f"imports, {name}", [each[unit] for each in samples[name]], unit, reference, step.beside or "")
    print(f"  HTTP libraries loaded by ours: {', '.join(sorted(loaded)) or 'none'}")


def _measure(step: Step, folder: Path, file: Path) -> dict[str, Any]:
    # Compiled modules, as an installed package has them, whatever the environment says about writing them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    command = [sys.executable, "-c", _PROBE, step.before, step.code, str(file)]
    done = subprocess.run(pinned(MEASURED, command), env=environment, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer

"""
What each extra costs: packages and megabytes that it installs, and what importing our part and its libraries takes.

Each extra is installed by itself into an empty folder, and imported from there by fresh interpreters.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from .common import spread
from .processes import MEASURED, pinned

ROUNDS: Final = 15
ROOT: Final = Path(__file__).parent.parent
_OURS: Final = "remotion_licensing_integrations"
_SET_UP: Final = f"""
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "{_OURS}.django"])
import django
django.setup()
import {_OURS}.django.middleware
"""
#: What an app that uses an extra imports of it, at its start or later.
USES: Final = {
    "": f"import {_OURS}.asgi",
    "starlette": f"import {_OURS}.starlette",
    "fastapi": f"import {_OURS}.fastapi",
    "flask": f"import {_OURS}.flask",
    "django": _SET_UP,
    "postgresql": f"import {_OURS}.outbox.drivers.postgresql",
    "mysql": f"import {_OURS}.outbox.drivers.mysql",
    "dashboard": f"import {_OURS}.dashboard, jinja2",
    "cli": f"import {_OURS}.operations.cli, rich.table, shtab",
    "sandbox": f"import {_OURS}.testing.sandbox",
    "httpx2": f"import {_OURS}.api.http",
    "otel": f"import {_OURS}.operations, opentelemetry.metrics",
}

_PROBE: Final = """
import json, sys, time
code = compile(sys.argv[1], "code", "exec")
start = time.perf_counter()
exec(code, {})
print(json.dumps(1e3 * (time.perf_counter() - start)))
"""


def bench_extras(folder: Path) -> None:
    """
    Install and import each extra.
    """
    extras = ["", *tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]]
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    [wheel] = folder.glob("*.whl")
    for extra in extras:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / f"extra-{extra}")]
        subprocess.run([*install, f"{wheel}[{extra}]" if extra else str(wheel)], check=True)
    samples: dict[str, list[float]] = {extra: [] for extra in extras}
    # The first round fills the caches of the system, and of compiled modules.
    for number in range(ROUNDS + 1):
        for extra in random.sample(extras, len(extras)):  # not cryptography
            taken = _import(USES[extra], folder / f"extra-{extra}")
            samples[extra] += [taken] if number else []
    for extra, values in samples.items():
        place = folder / f"extra-{extra}"
        packages = len(list(place.glob("*.dist-info")))
        size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file() and file.suffix != ".pyc") / 1e6
        name, middle = f"extras, {extra or 'none'}", statistics.median(values)
        print(f"  {name:<28}{packages:>4} packages{size:>8,.1f} MB{middle:>9,.1f} ms{spread(values):>20}")


def _import(code: str, place: Path) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(place)
    # Only what the extra has installed: without the environment's own packages.
    command = [sys.executable, "-S", "-c", _PROBE, code]
    done = subprocess.run(pinned(MEASURED, command), env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout))

"""
The tests on every version that the package promises: CPython, libraries old and new, with and without each framework.

`scripts/test --all` runs all sessions and `.ci/run` some; `nox --list` names them.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]

#: Versions of libraries, as constraints: what `pyproject.toml` promises at least, some of the time between, no limit.
VERSIONS = {
    "lowest": [
        "==".join(re.findall(r"^([\w-]+)(?:\[\w+\])?>=([\d.]+)", needed)[0])
        for needed in {*PROJECT["project"]["dependencies"], *itertools.chain(*EXTRAS.values())}
    ],
    "middle": [
        "django==5.2.8; python_version < '3.12'",
        "django==6.0.*; python_version >= '3.12'",
        "fastapi==0.135.*",
        "flask==3.1.0",
        "httpx==0.27.2",
        "httpx2==2.8.0",
        "jinja2==3.1.4",
        "opentelemetry-api==1.36.*",
        "psycopg==3.2.13",
        "pymysql==1.2.2",
        "rich==14.0.0",
        "shtab==1.11.0",
        "starlette==1.0.1",
    ],
    "newest": [],
}
#: Extras that a user of the others does not install.
WITHOUT: dict[str, set[str]] = {
    "all": set(),
    "no-django": {"django"},
    "no-starlette": {"starlette", "fastapi", "dashboard"},
}
#: The wheel that is tested: the one that `WHEEL` names, or else the one that the first session builds.
BUILT = [os.environ["WHEEL"]] if "WHEEL" in os.environ else []


@nox.session(python=PYTHONS)
@nox.parametrize("without", [*WITHOUT], ids=[*WITHOUT])
@nox.parametrize("http", ["httpx", "httpx2"], ids=["httpx", "httpx2"])
@nox.parametrize("versions", [*VERSIONS], ids=[*VERSIONS])
def matrix(session: nox.Session, versions: str, http: str, without: str) -> None:
    """
    Run the tests that stay within a process.
    """
    left_out = {*WITHOUT[without], *({"httpx2"} if http == "httpx" else ())}
    install(session, left_out, VERSIONS[versions])
    # What is missing here is missing on purpose, so its tests are left out.
    # Starlette's own test client asks for httpx2.
    warnings = ["-W", "ignore:Using `httpx` with `starlette.testclient`"] if http == "httpx" else []
    test(session, versions, *warnings, "-m", "not slow", *(session.posargs or ["tests"]), CI="")


@nox.session(python=PYTHONS)
def django(session: nox.Session) -> None:
    """
    Run all tests of the Django part, with servers and databases, and without other frameworks, as most projects are.
    """
    versions = {"3.11": "lowest", "3.12": "middle"}.get(str(session.python), "newest")
    install(session, WITHOUT["no-starlette"], VERSIONS[versions])
    contract = sorted(map(str, Path("tests/outbox").glob("test_contract*.py")))
    # The browser has looked at the pages in the other tests.
    chosen = ["tests/django", *contract, "-k", "django", "--ignore=tests/django/test_admin_page.py"]
    test(session, versions, *chosen, *session.posargs)


@nox.session(venv_backend="none")
@nox.parametrize("version", PYTHONS, ids=PYTHONS)
def whole(session: nox.Session, version: str) -> None:
    """
    Run all tests on the newest versions.
    """
    place = {"PYTHON": f"python{version}", "VENV": f".venv-{version}"}
    session.run("scripts/test", *session.posargs, env=place, external=True)


def install(session: nox.Session, left_out: set[str], versions: list[str]) -> None:
    """
    Install the wheel with its extras but those *left_out*, and the tools of the tests.
    """
    groups = ["test-tools", *([] if "django" in left_out else ["test-django"])]
    tools = nox.project.dependency_groups(PROJECT, *groups)
    constraints = Path(session.virtualenv.location, "constraints.txt")
    constraints.write_text("\n".join(versions))
    extras = ",".join(sorted(EXTRAS.keys() - left_out))
    session.install(f"{wheel(session)}[{extras}]", *tools, "--constraint", str(constraints))
    # Makes `tests` importable in every process, behind the installed package, which is therefore what is tested.
    site = next(Path(session.virtualenv.location).glob("**/site-packages"))
    (site / "repository.pth").write_text(str(ROOT))


def wheel(session: nox.Session) -> str:
    """
    Return the path of the wheel, and build it for the first session.
    """
    if not BUILT:
        place = Path(session.cache_dir, "wheel")
        session.install("hatchling>=1.26", "hatch-fancy-pypi-readme>=24")
        session.run_install("hatchling", "build", "--clean", "--target", "wheel", "--directory", str(place))
        BUILT.extend(map(str, place.glob("*.whl")))
    return BUILT[0]


def test(session: nox.Session, versions: str, *arguments: str, **environment: str) -> None:
    """
    Run pytest in as many processes as the tests may take.
    """
    workers = ["-n", os.environ.get("TEST_WORKERS", "3"), "--dist", "worksteal"]
    # Libraries that are not the newest call what others have come to deprecate.
    warnings = [] if versions == "newest" else ["-W", "ignore::DeprecationWarning"]
    session.run("pytest", "-q", *workers, *warnings, *arguments, env=environment)

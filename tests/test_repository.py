"""
The repository as a whole: versions agree, the wheel has what it needs, scripts are sound, nothing private is in it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import django
import pytest
from packaging.version import Version

import remotion_licensing_integrations as package
from remotion_licensing_integrations import __version__

ROOT = Path(__file__).parent.parent
PACKAGE = "remotion_licensing_integrations"
SCRIPTS = sorted((ROOT / "scripts").iterdir())
#: Sourced by the others, so they need not be executable.
PARTS = [path for path in SCRIPTS if path.name.startswith("_")]
PROGRAMS = [path for path in SCRIPTS if path not in PARTS] + [ROOT / ".ci" / "run"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

#: Written so that this file does not contain what it looks for.
FORBIDDEN = re.compile(
    r"/wor[k]/|/roo[t]/|/User[s]/"  # paths of somebody's machine
    r"|(?i:index[-_]ur[l]|extra[-_]inde[x]|uv_inde[x]|trusted[-_]hos[t])"  # a package index of one's own
    r"|(?i:artifactor[y]|devp[i]|nexus\.[a-z]|[a-z0-9.-]+/simpl[e]\b)"
)


def versions() -> list[tuple[str, str]]:
    """
    Return version and date of each release in the changelog, newest first.
    """
    return re.findall(r"^## \[(\d[^\]]*)\] - (\d{4}-\d{2}-\d{2})$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_version() -> None:
    """
    The package has the version of the newest release in the changelog.
    """
    assert versions()[0][0] == __version__


def test_releases_are_in_order() -> None:
    """
    The changelog is newest first, by version and by date.
    """
    keys = [(Version(version), date) for version, date in versions()]

    assert keys == sorted(keys, reverse=True)


def test_unreleased() -> None:
    """
    The changelog begins with a section for what comes next.
    """
    assert re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == "[Unreleased]"


def test_one_runtime_dependency() -> None:
    """
    The package needs `httpx` and nothing else.
    """
    assert [re.match(r"[\w-]+", needed)[0] for needed in PROJECT["project"]["dependencies"]] == ["httpx"]


def test_installed_package_is_tested(tmp_path) -> None:
    """
    Under CI the tests, and processes that they start, import the package that was built and installed.
    """
    code = f"import {PACKAGE}; print({PACKAGE}.__file__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)

    assert {done.stdout.strip()} == {package.__file__}
    if "CI" in os.environ:
        assert not Path(package.__file__).is_relative_to(ROOT / PACKAGE)


def build(target: str, place: Path) -> Path:
    """
    Build a wheel or an sdist as an installer would, without fetching anything.
    """
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(place)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    [built] = place.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """
    Open the wheel of this tree.
    """
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("dist"))) as opened:
        yield opened


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    return wheel.read(f"{PACKAGE}-{__version__}.dist-info/{name}").decode()


def test_wheel_has_the_whole_package(wheel) -> None:
    """
    Each file of the package is in the wheel, the mark of types and the sandbox's page included.
    """
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert {f"{PACKAGE}/py.typed", f"{PACKAGE}/testing/sandbox/page.html"} <= here
    assert {name for name in wheel.namelist() if name.startswith(f"{PACKAGE}/")} == here


def test_wheel_has_nothing_else(wheel) -> None:
    """
    Neither tests nor examples nor documents are in the wheel.
    """
    assert {name.partition("/")[0] for name in wheel.namelist()} == {PACKAGE, f"{PACKAGE}-{__version__}.dist-info"}


def test_wheel_has_the_licence(wheel) -> None:
    """
    The licence goes with the wheel.
    """
    assert metadata(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()


def test_wheel_has_its_entry_points(wheel) -> None:
    """
    The command and the pytest plugin are announced.
    """
    found = metadata(wheel, "entry_points.txt")

    assert f"remotion-licensing = {PACKAGE}.operations.cli:main" in found
    assert f"remotion_licensing = {PACKAGE}.testing.plugin" in found


def test_wheel_has_its_metadata(wheel) -> None:
    """
    Version, oldest Python and extras are those of the project.
    """
    found = Parser().parsestr(metadata(wheel, "METADATA"))

    assert (found["Version"], found["Requires-Python"]) == (__version__, PROJECT["project"]["requires-python"])
    assert set(found.get_all("Provides-Extra")) == set(PROJECT["project"]["optional-dependencies"])


def test_index_shows_absolute_links(wheel) -> None:
    """
    The page on the index, which has no repository around it, links to addresses only, images included.
    """
    page = Parser().parsestr(metadata(wheel, "METADATA")).get_payload()

    assert "](https://" in page
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", page) == []


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_script_can_be_run(path: Path) -> None:
    """
    A script is executable and names its interpreter.
    """
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/bin/sh\n")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_script_stops_at_errors(path: Path) -> None:
    """
    A script ends with the first command that fails, and at names that are not set.
    """
    assert "\nset -eu\n" in path.read_text()


@pytest.mark.parametrize("path", [*PARTS, *PROGRAMS], ids=lambda path: path.name)
def test_script_is_valid(path: Path) -> None:
    """
    The shell can read a script to its end.
    """
    done = subprocess.run([shutil.which("sh"), "-n", path], check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_ci_runs_everything() -> None:
    """
    What must hold before a change lands: the check, the site, the tests, also without POSIX and on other versions.
    """
    text = (ROOT / ".ci" / "run").read_text()
    commands = re.findall(r"\bpart (?:nice )?(scripts/\w+(?: --[a-z-]+)?)", text)

    assert commands == [
        *("scripts/test", "scripts/check", "scripts/docs", "scripts/test --without-posix"),
        *("scripts/test --all", "scripts/test --all", "scripts/coverage"),
    ]


def test_sessions_of_ci() -> None:
    """
    The sessions that run before a change lands are some of the matrix.
    """
    chosen = re.findall(r"--session (.+?) -- ", (ROOT / ".ci" / "run").read_text())
    command = [sys.executable, "-m", "nox", "--list", "--json", "--session", *shlex.split(" ".join(chosen))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)

    assert {session["session"] for session in json.loads(done.stdout)} == set(command[6:])


def test_supported_djangos() -> None:
    """
    Each Django that the package declares is the oldest, the one in the middle, or the newest of the matrix.
    """
    declared = re.findall(r"Framework :: Django :: (.+)", "\n".join(PROJECT["project"]["classifiers"]))
    [oldest] = PROJECT["project"]["optional-dependencies"]["django"]
    [middle] = re.findall(r'"django==(.+)\.\*; ', (ROOT / "noxfile.py").read_text())
    # Newer ones need Python 3.12.
    newest = ["{}.{}".format(*django.VERSION[:2])] if sys.version_info >= (3, 12) else declared[2:]

    assert [oldest.removeprefix("django>="), middle, *newest] == declared


@pytest.mark.parametrize("path", PROGRAMS[:-1], ids=lambda path: path.name)
def test_groups_of_scripts(path: Path) -> None:
    """
    A script installs a dependency group that exists.
    """
    assert re.findall(r"^group=([\w-]+)$", path.read_text(), re.MULTILINE)[0] in PROJECT["dependency-groups"]


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """
    List the tracked files.
    """
    if shutil.which("git") is None or not (ROOT / ".git").exists():  # pragma: no cover - as in an sdist
        pytest.skip("not a git checkout, so nothing tells which files belong to the repository")
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return [path for name in listed.split("\0")[:-1] if (path := ROOT / name).is_file()]


def test_sdist_has_the_whole_repository(files, tmp_path) -> None:
    """
    Tests, scripts and documents go with the sdist, so that its tests can be run.
    """
    with tarfile.open(build("sdist", tmp_path)) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}

    assert {path.relative_to(ROOT).as_posix() for path in files} <= names


def test_nothing_private(files) -> None:
    """
    No file names paths or package indexes of the place where it was written.
    """
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if (match := FORBIDDEN.search(line))
    ]

    assert found == []


@pytest.mark.parametrize("text", ["/wor" + "k/main", "PIP_INDEX" + "_URL=x", "https://pypi.example/simpl" + "e/"])
def test_private_words_are_found(text: str) -> None:
    """
    The search finds what it looks for.
    """
    assert FORBIDDEN.search(text)


def test_no_leftovers(files) -> None:
    """
    No log, cache or archive is part of the repository, and no database but the stored ones.
    """
    unwanted = re.compile(r"\.(?:sqlite3.*|log|pyc|whl|egg-info|orig|rej|swp)$|(?:^|/)(?:__pycache__|dist|build)/")

    stored = set((ROOT / "tests" / "golden").glob("outbox-schema-*.sqlite3"))

    assert [str(path) for path in files if path not in stored and unwanted.search(str(path.relative_to(ROOT)))] == []


def test_text_files_end_with_a_line_end(files) -> None:
    """
    Each file of text ends with exactly one line end.
    """
    texts = [path for path in files if path.suffix in {".py", ".md", ".toml", ".html", ""} and path.stat().st_size]

    assert [str(path) for path in texts if not re.search(rb"[^\n]\n\Z", path.read_bytes())] == []

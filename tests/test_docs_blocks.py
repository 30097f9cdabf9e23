"""
Each block of code on a page runs, or is read by what reads its language.

`test_docs.py` also says what some of them must lead to, and `test_start_pages.py` follows whole pages.
"""

from __future__ import annotations

import builtins
import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from fastapi import FastAPI

from tests._systems import skip_without_posix

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "example_projects").glob("*/*.md")]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (f"{path.relative_to(ROOT)}:{path.read_text()[: match.start()].count(chr(10)) + 1}", match[2], match[3])
    for path in sorted(PAGES)
    for match in BLOCK.finditer(path.read_text())
]
#: Other tests follow these pages to the letter, or have an API for their calls.
FOLLOWED = ("docs/start/", "docs/tutorial.md", "docs/guides/client.md", "docs/guides/testing.md")
NOT_INSTALLED = ("mangum",)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def of(wanted: str, *, but: tuple[str, ...] = ()) -> Any:
    blocks = [(name, text) for name, language, text in BLOCKS if language == wanted and not name.startswith(but)]
    chosen = [pytest.param(text, id=name) for name, text in blocks]
    return pytest.mark.parametrize("text", chosen)


class Names(dict[str, Any]):
    """
    The names of a block; what it takes for granted, such as `render` or an app of another block, is a stand-in.
    """

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)
        return FastAPI() if name == "app" else MagicMock(name=name, __name__=name)


@of("python", but=FOLLOWED)
def test_python(text: str, remotion_usage, tmp_path, monkeypatch) -> None:
    """
    A block of Python runs: what it imports and calls is there and takes these arguments.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REMOTION_WEBHOOK_SECRET", "docs")
    monkeypatch.setitem(sys.modules, "docs", ModuleType("docs"))  # Litestar looks for the annotations' names there
    for module in NOT_INSTALLED:
        monkeypatch.setitem(sys.modules, module, MagicMock())
    exec(compile(text.replace("_…", "_docs"), "<docs>", "exec"), {"__name__": "docs"}, Names())


@of("shell")
def test_shell(text: str) -> None:
    """
    A block for the shell can be read by it, and installs extras that exist.
    """
    skip_without_posix("the shell")
    done = subprocess.run([shutil.which("sh"), "-n"], input=text, check=False, capture_output=True, text=True)
    extras = re.findall(r"remotion-licensing-integrations\[([\w,-]+)\]", text)

    assert (done.returncode, done.stderr) == (0, "")
    assert {name for each in extras for name in each.split(",")} <= set(EXTRAS)


def read_ini(text: str) -> None:
    configparser.ConfigParser(strict=False, interpolation=None).read_string(text)


def read_dockerfile(text: str) -> None:
    for line in text.replace("\\\n", "").splitlines():
        assert re.match(r"(?:FROM|RUN|WORKDIR|COPY|USER|ENV|VOLUME|CMD|EXPOSE|ENTRYPOINT|HEALTHCHECK|#) ?", line)


def read_cron(text: str) -> None:
    for line in text.splitlines():
        assert re.match(r"\w+=|#|(?:[\d*/,-]+ ){5}\S", line)


def read_nginx(text: str) -> None:
    assert text.count("{") == text.count("}")
    assert all(re.search(r"[;{}]$|^\s*#|^$", line) for line in text.splitlines())


READERS: dict[str, Callable[[str], object]] = {
    "cron": read_cron,
    "dockerfile": read_dockerfile,
    "ini": read_ini,
    "json": lambda text: [json.loads(line) for line in text.splitlines()],
    "nginx": read_nginx,
    "toml": tomllib.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
}


@pytest.mark.parametrize(("name", "language", "text"), BLOCKS, ids=[block[0] for block in BLOCKS])
def test_language(name: str, language: str, text: str) -> None:
    """
    A block is in a language that a test reads; one without a language is what a program prints.
    """
    assert language in {*READERS, "python", "shell", "text", ""}, name
    READERS.get(language, str)(text)

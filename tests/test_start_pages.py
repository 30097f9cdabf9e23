"""
The pages that one starts with, followed to the letter: files are saved, processes started, and what is shown is there.

Only three things differ: everything is installed already, ports are free ones, and the sandbox runs in this process.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from remotion_licensing_integrations.testing import Sandbox
from tests._environment import clean_environment, skip_missing
from tests.processes.servers import DEADLINE, eventually, free_port

FOLDER = Path(__file__).parent.parent / "docs" / "start"
PAGES = sorted(FOLDER.glob("*.md"))
#: What is another one each time: moments and keys.
CHANGING = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


class Shell:
    """
    A terminal in *folder* whose environment has this test run's programs.
    """

    def __init__(self, folder: Path) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._options = {"cwd": folder, "env": clean_environment(PATH=path, PYTHONUNBUFFERED="1")}

    def run(self, commands: str) -> str:
        """
        Return what *commands* print.
        """
        done = subprocess.run(["sh", "-ec", commands], **self._options, check=True, capture_output=True, text=True)
        return done.stdout

    def start(self, commands: str, log: Path) -> subprocess.Popen[bytes]:
        """
        Let *commands* run in a process group of their own.
        """
        with log.open("wb") as output:
            return subprocess.Popen(
                ["sh", "-ec", commands], **self._options, stdout=output, stderr=output, start_new_session=True
            )


def save_files(page: Path, folder: Path) -> None:
    pattern = r"^(Save|Append) this \w+ `([^`\n]+)`:\n\n```python\n(.*?)^```$"
    files = re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)
    assert len(files) == len(blocks(page, "python"))
    for verb, name, text in files:
        with (folder / name).open("w" if verb == "Save" else "a") as file:
            file.write(text)


def test_page_works(page: Path, tmp_path: Path) -> None:
    """
    Whoever follows the page sees the answer and the registered point that it shows.
    """
    if shutil.which("curl") is None:
        skip_missing("curl is not on the PATH")
    install, serve, convert = blocks(page, "shell")
    [expected] = blocks(page, "text")
    head = r"python -m venv \.venv\n\. \.venv/bin/activate .*\npip install .*\n((?s:.*))remotion-licensing sandbox\n"
    shell, port = Shell(tmp_path), free_port()
    shell.run(re.fullmatch(head, install)[1])
    save_files(page, tmp_path)

    def local(commands: str) -> str:
        return commands.replace("http://127.0.0.1:8484", sandbox.url).replace("8000", str(port))

    with Sandbox() as sandbox:
        app = shell.start(local(serve), tmp_path / "log")
        try:
            call, listing = convert.splitlines()
            answer = eventually(lambda: _output(app, shell, local(call)))
            assert answer == expected.splitlines()[0]
            eventually(lambda: "registered" in shell.run(local(listing)))
            shown = [answer, *shell.run(local(listing)).splitlines()]
        except BaseException as error:
            error.add_note((tmp_path / "log").read_text())
            raise
        finally:
            os.killpg(app.pid, 15)
            app.wait(DEADLINE)

    assert [CHANGING.sub("…", line) for line in shown] == [CHANGING.sub("…", line) for line in expected.splitlines()]


def _output(app: subprocess.Popen[bytes], shell: Shell, call: str) -> str:
    assert app.poll() is None, "the app ended instead of starting"
    try:
        return shell.run(call)
    except subprocess.CalledProcessError:  # the app does not listen yet
        return ""


def test_page_is_short(page: Path) -> None:
    """
    A page to start with fits on one screen or two.
    """
    assert len(page.read_text().splitlines()) < 70

"""
The pages that one starts with, followed to the letter: files are saved, processes started, and what is shown is there.

Only the installation is left out, and ports are free ones.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from remotion_licensing_integrations.testing import Sandbox
from tests._pages import Page, same
from tests.processes.servers import eventually, free_port

PAGES = sorted((Path(__file__).parent.parent / "docs" / "start").glob("*.md"))
INSTALL = re.compile(
    r"python3 -m venv \.venv .*\n\. \.venv/bin/activate .*\npip install .*\n((?s:.*))remotion-licensing sandbox\n"
)

pytestmark = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


def test_page_works(path: Path, tmp_path: Path) -> None:
    """
    A reader who follows the page sees what it says: the server's line, the answer and the registered point.
    """
    with Sandbox() as sandbox:
        port = free_port()
        page = Page(path, tmp_path, {"8484": int(sandbox.url.rpartition(":")[2]), "8000": port})
        install, serve, convert = page.shell
        page.run(INSTALL.fullmatch(install)[1])
        page.save()
        with page.running(serve, "8000"):
            call, listing = convert.splitlines()
            answer = page.run(call)
            eventually(lambda: "registered" in page.run(listing))
            shown = f"{answer.rstrip()}\n{page.run(listing)}"

    assert same(shown) == same(page.shown[0])
    [said] = re.findall(r"The server says `([^`]+)`", path.read_text())
    assert said.replace("8000", str(port)) in (tmp_path / "log-8000").read_text()


def test_page_is_short(path: Path) -> None:
    """
    A page to start with fits on one screen or two.
    """
    assert len(path.read_text().splitlines()) < 70

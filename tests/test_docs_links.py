"""
What `scripts/docs` finds wrong with the links of a site.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "docs" / "_links.py"


@pytest.fixture(scope="module")
def links():
    spec = importlib.util.spec_from_file_location("docs_links", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("html", "wrong"),
    [
        ('<a href="other.html#part">', None),
        ('<a href="#here"><p id="here">', None),
        ('<a href="https://example.com/">', None),
        ('<img src="data:image/png;base64,AA==">', None),
        ('<a href="missing.html">', "no file missing.html"),
        ('<img src="missing.png">', "no file missing.png"),
        ('<a href="other.html#gone">', "no part other.html#gone"),
        ('<a href="#gone">', "no part #gone"),
        ('<link rel="stylesheet" href="https://example.com/a.css">', "loads https://example.com/a.css"),
        ('<script src="//example.com/a.js">', "loads //example.com/a.js"),
    ],
)
def test_link(links, tmp_path, html: str, wrong: str | None) -> None:
    """
    A link leads to a page and a part that are there, and a browser loads nothing from elsewhere.
    """
    (tmp_path / "page.html").write_text(html)
    (tmp_path / "other.html").write_text('<h2 id="part">')

    assert links.check_site(tmp_path) == ([f"{tmp_path / 'page.html'}: {wrong}"] if wrong else [])


def test_repository(links, tmp_path, monkeypatch) -> None:
    """
    A Markdown file outside the site links to files that are there, too.
    """
    (tmp_path / "README.md").write_text("[a](README.md) [b](https://example.com) [c](docs/gone.md#part)")
    monkeypatch.setattr(links, "ROOT", tmp_path)

    assert links.check_repository() == [f"{tmp_path / 'README.md'}: no file docs/gone.md"]

"""
Follows every link of the built site, and every link inside the repository from its other Markdown files.

A page, a part of a page or a picture that is not there ends the build, and so does anything that a browser would load
from elsewhere.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

ROOT: Final = Path(__file__).parent.parent


class Page(HTMLParser):
    """
    What a page links to, and the parts of it that others can link to.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """
        Note the addresses and the name of a tag.
        """
        for name, value in attrs:
            if name in {"id", "name"} and value:
                self.anchors.add(value)
            elif name in {"href", "src", "action"} and value:
                (self.links if tag in {"a", "form"} else self.loaded).append(value)


def check_site(folder: Path) -> list[str]:
    """
    Return what is wrong with the links of the pages in *folder*.
    """
    pages = {path: Page(path) for path in folder.rglob("*.html")}
    wrong = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                wrong += [f"{path}: loads {link}"] if link in page.loaded and parts.scheme != "data" else []
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                wrong.append(f"{path}: no file {link}")
            elif parts.fragment and unquote(parts.fragment) not in pages[target].anchors:
                wrong.append(f"{path}: no part {link}")
    return wrong


def check_repository() -> list[str]:
    """
    Return the links between Markdown files outside this folder, and into it, that lead nowhere.
    """
    files = [*ROOT.glob("*.md"), *ROOT.glob("example_projects/*/*.md"), *ROOT.glob(".github/**/*.md")]
    links = [(path, link) for path in files for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", path.read_text())]
    inside = [(path, link) for path, link in links if "://" not in link]
    return [f"{path}: no file {link}" for path, link in inside if not (path.parent / link).exists()]


if __name__ == "__main__":
    problems = check_site(Path(sys.argv[1]).resolve()) + check_repository()
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    sys.exit(bool(problems))

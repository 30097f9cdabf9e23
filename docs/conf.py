"""
How Sphinx builds the site; `scripts/docs` runs it.

The pages are plain Markdown that also reads well in the repository. What they cannot say themselves stands here: the
navigation, and what is generated from the code (`_reference.py`).
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE: Final = Path(__file__).parent
PROJECT: Final = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
REPOSITORY: Final = PROJECT.get("urls", {}).get(
    "Source", "https://github.com/remotion-licensing-integrations/remotion-licensing-integrations"
)

#: Each part of the site with its pages in order; pages of its folders that no part names follow by name.
NAVIGATION: Final = {
    "Start here": "start/fastapi start/starlette start/django start/flask start/litestar start/quart start/asgi "
    "start/wsgi tutorial",
    "What to count": "events double-counting explanation/what-counts guides/each-month",
    "How to": "guides/jobs guides/webhooks guides/keys guides/proxies-and-hosts guides/testing guides/limits "
    "guides/django guides/client "
    "guides/deployment guides/several-machines guides/docker guides/kubernetes guides/systemd-and-cron "
    "guides/windows-and-macos guides/serverless guides/corporate-proxies",
    "Operate": "guides/operations guides/dashboard guides/monitoring guides/outage guides/full-disk "
    "guides/rejected-points guides/backups guides/upgrading troubleshooting",
    "Why and how": "explanation/promises explanation/honest-limits explanation/how-it-works explanation/privacy "
    "explanation/reliability explanation/performance explanation/decisions/index",
    "Reference": "reference/settings reference/command-line reference/doctor reference/log reference/functions "
    "reference/adapters reference/recorder reference/client reference/errors reference/outbox reference/testing "
    "reference/operations reference/import-paths glossary",
    "Contribute": "contributing/architecture contributing/new-adapter contributing/new-store contributing/versions "
    "contributing/release",
}
FOLDERS: Final = {
    "Start here": ["start"],
    "How to": ["guides"],
    "Why and how": ["explanation"],
    "Reference": ["reference"],
    "Contribute": ["contributing"],
}

sys.path.insert(0, str(HERE))
# The reference imports the adapter for Django, and what a page shows comes from the code alone, never from this shell.
for name in [name for name in os.environ if name.startswith("REMOTION_")]:
    del os.environ[name]

project = PROJECT["name"]
author = project_copyright = "remotion-licensing-integrations contributors"
root_doc = "index"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "_reference"]
myst_heading_anchors = 3
smartquotes = False
default_role = "py:obj"  # in docstrings, single backticks are code, and a link where the name is known

add_module_names = False
autodoc_inherit_docstrings = False  # a store does not repeat the contract
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "all"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
napoleon_use_rtype = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "remotion-licensing-integrations"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False


def _navigation() -> str:
    """
    Return the navigation as directives for the first page.
    """
    found = {path.relative_to(HERE).with_suffix("").as_posix() for path in HERE.rglob("*.md")}
    found -= {page for page in found if f"{page.rpartition('/')[0]}/index" in found - {page}}  # an index lists its own
    unnamed = sorted(found.difference(*(names.split() for names in NAVIGATION.values())))
    parts = []
    for caption, names in NAVIGATION.items():
        first = [page for page in names.split() if page in found]
        others = [page for page in unnamed if page.rpartition("/")[0] in FOLDERS.get(caption, ())]
        pages = "\n".join(first + others)
        parts.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n")
    return "\n".join(parts)


def _complete(_: Sphinx, page: str, source: list[str]) -> None:
    """
    Put the navigation on the first page, and let links out of this folder lead to the repository.
    """
    folder = (HERE / page).parent

    def link(match: re.Match[str]) -> str:
        target = (folder / match[1]).resolve()
        if target.is_relative_to(HERE) or not target.exists():
            return match[0]  # Sphinx resolves it, or warns
        return f"]({REPOSITORY}/blob/main/{target.relative_to(HERE.parent)}"

    source[0] = re.sub(r"\]\((\.\./[^)#\s]+)", link, source[0])
    if page == root_doc:
        source[0] += f"\n{_navigation()}"
    elif page.endswith("/index"):
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def _finish(_app: Sphinx, _page: str, _template: str, context: dict[str, str], _tree: object) -> None:
    """
    Let the keyboard reach what scrolls, say the level of the navigation's headings, and write dashes as dashes.
    """
    if "body" in context:
        body = (
            context["body"]
            .replace(") -- ", ") – ")
            .replace("</strong> -- ", "</strong> – ")
            .replace("</strong></a> -- ", "</strong></a> – ")
            .replace("<pre>", '<pre tabindex="0">')
        )
        context["body"] = body.replace('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper')
    tree = context["furo_navigation_tree"]
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


def setup(app: Sphinx) -> None:
    """
    Complete each page when it is read, and again when it is written.
    """
    app.connect("html-page-context", _finish, priority=900)  # after the theme
    app.connect("source-read", _complete)

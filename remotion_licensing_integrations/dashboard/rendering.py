"""
Renders the pages from their templates, and finds the files that they need.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined

from .._support.masking import mask
from .._support.pages import page_style
from ..outbox import State
from ..points import EVENTS
from .figures import NAMES

#: The parts of the page that the script renews, by the ids of their elements.
PARTS: Final = ("status", "figures", "activity", "points")

_TYPES: Final = {"dashboard.css": "text/css", "dashboard.js": "text/javascript"}
_FOLDER: Final = files(__package__ or "")


class Pages:
    """
    The templates of the page, read when they are first needed.
    """

    def __init__(self) -> None:
        loader = FunctionLoader(lambda name: _FOLDER.joinpath("templates", name).read_text(encoding="utf-8"))
        # Its types know only the filters and names that it brings along.
        self._environment: Any = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._environment.filters.update(number="{:,}".format, moment=_moment, masked=mask, ago=_ago)
        self._environment.globals.update(names=NAMES, states=list(State), events=EVENTS)

    def whole(self, content: Mapping[str, Any]) -> str:
        """
        Return the page.
        """
        text: str = self._environment.get_template("page.html").render(content)
        return text

    def parts(self, content: Mapping[str, Any]) -> Mapping[str, str]:
        """
        Return the inner HTML of each of `PARTS`.
        """
        return {name: self._environment.get_template(f"{name}.html").render(content) for name in PARTS}


def read_static(name: str) -> tuple[str, str] | None:
    """
    Return the file *name* that the page needs, with its type, or `None` when there is no such file.
    """
    if name not in _TYPES:
        return None
    text = _FOLDER.joinpath("static", name).read_text(encoding="utf-8")
    return (page_style() + text if name == "dashboard.css" else text), _TYPES[name]


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _ago(moment: datetime, now: datetime) -> str:
    seconds = max(0, round((now - moment).total_seconds()))
    for name, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if number := seconds // length:
            return f"{number} {name}{'' if number == 1 else 's'}"
    return f"{seconds} s"

"""
What the sandbox's page and the dashboard have in common: their style sheet.
"""

from __future__ import annotations

from importlib.resources import files


def page_style() -> str:
    """
    Return the style sheet.
    """
    return files(__package__ or "").joinpath("page.css").read_text(encoding="utf-8")

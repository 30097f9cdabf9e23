"""
Reads what a page of the dashboard says.
"""

from __future__ import annotations

import html
import re


def text_of(markup: str) -> str:
    """
    Return the text of *markup*, with single spaces.
    """
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def table_of(page: str, name: str) -> dict[str, list[str]]:
    """
    Return the cells of each row of the table of a window, by the row's head; "12 API 13" where the API has a number.
    """
    table = re.search(rf'<table class="counts" aria-labelledby="{name}-title">.*?</table>', page, re.DOTALL)[0]
    rows = re.findall(r"<tr[^>]*>\s*<th scope=\"row\">(.*?)</th>(.*?)</tr>", table, re.DOTALL)
    return {head: [text_of(cell) for cell in re.findall(r"<td.*?</td>", cells, re.DOTALL)] for head, cells in rows}


def keys_of(page: str) -> list[str]:
    """
    Return the idempotency keys of the points that a page lists.
    """
    return [html.unescape(key) for key in re.findall(r'<bdi class="mono">(.*?)</bdi>', page)]


def token_of(page: str) -> str:
    """
    Return the token in the forms of a page.
    """
    return re.search(r'name="token" value="([^"]+)"', page)[1]

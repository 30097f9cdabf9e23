"""
What a table knows of its columns.
"""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """
    A column of a table.

    Attributes:
        rank: 0 for a column that is always shown; of the others, those with the highest rank go first when the terminal
            is too narrow.
        is_cut: Whether cells may be cut before columns go.
    """

    title: str
    rank: int = 0
    is_cut: bool = False

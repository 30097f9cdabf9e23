"""
The contract's statements as SQL text: in come a kind of database and the names of its tables, out go texts.

What all databases share stands in `base`, what differs in a module for each; `schema` makes the tables.
"""

from __future__ import annotations

from functools import cache

from ..connection import Database, Tables
from .base import Statements
from .mysql import MySQL
from .postgresql import PostgreSQL
from .schema import MIGRATIONS
from .sqlite import SQLite

__all__ = ["MIGRATIONS", "Statements", "get_statements"]


@cache
def get_statements(database: Database, tables: Tables, *, clocked: bool) -> Statements:
    """
    Return the statements for *tables*, *clocked* when the present moment comes as the parameter `now`.
    """
    kinds: dict[Database, type[Statements]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MySQL}
    return kinds[database](tables, clocked=clocked)

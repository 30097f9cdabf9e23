"""
The contract's statements as SQL text: in come a kind of database and the names of its tables, out go texts.

`base` has what all databases share, one module for each database has what differs, and `schema` creates the tables.
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
    Return the statements for *tables*, *clocked* when the current time comes as the parameter `now`.
    """
    classes: dict[Database, type[Statements]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MySQL}
    return classes[database](tables, clocked=clocked)

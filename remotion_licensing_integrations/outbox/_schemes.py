"""
The URLs of database servers.
"""

from __future__ import annotations

from typing import Final

#: The kind of database by the scheme of its URL; its extra has the same name. One driver each, which bounds its waits.
DATABASES: Final = {
    **dict.fromkeys(["postgresql+psycopg", "postgresql", "postgres"], "postgresql"),
    **dict.fromkeys(["mysql+pymysql", "mysql", "mariadb+pymysql", "mariadb"], "mysql"),
}

"""
Outboxes in Django's databases, for the tests of every store and those of the Django part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from tests._server_outbox import empty

SETTINGS = "tests.django.project.settings"
pytest_plugins = ["tests._mariadb", "tests._postgresql"]


def set_up() -> None:
    """
    Make Django ready with the test project's settings, where it is installed.
    """
    if find_spec("pytest_django") is not None:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS)
        import django  # noqa: PLC0415 - it is an extra, and most tests need none of it

        django.setup()


@contextmanager
def add_database(alias: str, entry: dict[str, Any], *, migrated: bool = True) -> Iterator[str]:
    """
    Have the database *entry* under *alias* while the context lasts.
    """
    from django.core.management import call_command  # noqa: PLC0415 - Django is an extra, and set up later
    from django.db import connections  # noqa: PLC0415 - Django is an extra, and set up later

    connections.settings[alias] = entry
    connections.configure_settings(connections.settings)
    try:
        if migrated:
            call_command("migrate", database=alias, verbosity=0)
            connections[alias].close()
        yield alias
    finally:
        connections[alias].close()
        del connections[alias], connections.settings[alias]


@pytest.fixture(scope="session")
def sqlite_alias(tmp_path_factory, request) -> Iterator[str]:
    """
    Alias of a migrated SQLite file.
    """
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path_factory.mktemp("django") / "outbox.sqlite3"}
    yield from _unblocked(request, "outbox_sqlite", entry)


@pytest.fixture(scope="session")
def postgresql_alias(postgresql, request) -> Iterator[str]:
    """
    Alias of a migrated PostgreSQL database.
    """
    yield from _unblocked(request, "outbox_postgresql", postgresql)


@pytest.fixture(scope="session")
def mariadb_alias(mariadb, request) -> Iterator[str]:
    """
    Alias of a migrated MariaDB database.
    """
    yield from _unblocked(request, "outbox_mariadb", mariadb)


def _unblocked(request: pytest.FixtureRequest, alias: str, entry: dict[str, Any]) -> Iterator[str]:
    pytest.importorskip("pytest_django")
    # After pytest-django's own databases, or it would make test databases of these, too.
    request.getfixturevalue("django_db_setup")
    blocker = request.getfixturevalue("django_db_blocker")
    database = ExitStack()
    with blocker.unblock():
        database.enter_context(add_database(alias, entry))
    yield alias
    with blocker.unblock():
        database.close()


@contextmanager
def emptied(request: pytest.FixtureRequest, fixture: str, clock: Callable[[], float] | None) -> Iterator[Any]:
    """
    An empty `DjangoOutbox` in the database of a *fixture*.
    """
    alias = request.getfixturevalue(fixture)
    from django.db import connections  # noqa: PLC0415 - Django is an extra, and set up later

    from remotion_licensing_integrations.django.outbox import DjangoOutbox  # noqa: PLC0415 - Django is an extra, and set up later

    with request.getfixturevalue("django_db_blocker").unblock():
        empty(DjangoOutbox(alias))
        outbox = DjangoOutbox(alias, clock=clock)
        yield outbox
        outbox.close()
        connections[alias].close()

"""
A sandbox, and migrated databases that processes share.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from remotion_licensing_integrations.testing import Sandbox
from tests._systems import skip_without_posix
from tests.django.processes.servers import environment, manage
from tests.processes.servers import DEADLINE


def migrate(database: Path | Mapping[str, Any]) -> None:
    """
    Make the tables.
    """
    with manage("migrate", environment=environment(database)) as process:
        output, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, output


def execute(server: Mapping[str, Any], sql: str) -> None:
    """
    Run a statement in a server's first database.
    """
    import psycopg  # noqa: PLC0415 - an extra; where it is missing, there is no server either

    to = {"host": server["HOST"], "port": server["PORT"], "user": server["USER"], "dbname": server["NAME"]}
    with psycopg.connect(**to, autocommit=True) as connection:
        connection.execute(sql)


@pytest.fixture(scope="session", autouse=True)
def _posix() -> None:
    skip_without_posix("the server of this test")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A SQLite file to copy.
    """
    file = tmp_path_factory.mktemp("processes") / "db.sqlite3"
    migrate(file)
    return file


@pytest.fixture
def sqlite_file(migrated_file: Path, tmp_path: Path) -> Path:
    """
    A migrated SQLite file.
    """
    return Path(shutil.copy(migrated_file, tmp_path / "db.sqlite3"))


@pytest.fixture(scope="session")
def migrated_template(postgresql: Mapping[str, Any]) -> str:
    """
    The name of a PostgreSQL database to copy.
    """
    name = "processes"
    execute(postgresql, f"CREATE DATABASE {name}")
    migrate({**postgresql, "NAME": name})
    return name


@pytest.fixture
def postgresql_database(postgresql: Mapping[str, Any], migrated_template: str) -> Iterator[Mapping[str, Any]]:
    """
    A migrated PostgreSQL database, as an entry for Django's `DATABASES`.
    """
    name = f"processes_{uuid.uuid4().hex}"
    execute(postgresql, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield {**postgresql, "NAME": name}
    execute(postgresql, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Path | Mapping[str, Any]:
    """
    The database of the fixture that a test's parameter names.
    """
    found: Path | Mapping[str, Any] = request.getfixturevalue(request.param)
    return found

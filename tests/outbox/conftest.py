"""
What every test of the outbox gets: a clock it can turn, a directory without a slow disk below it, and every store.
"""

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.outbox.sqlite import SQLiteOutbox
from tests import _sqlalchemy
from tests._django import emptied, set_up
from tests.outbox._values import Clock

# While tests are collected: later pytest-django takes no notice.
set_up()

#: A new store needs one entry here to have the whole contract tested.
STORES = {
    "memory": lambda request, clock: closing(MemoryOutbox(clock=clock)),
    "sqlite": lambda request, clock: closing(
        SQLiteOutbox(request.getfixturevalue("place") / "outbox.sqlite3", clock=clock)
    ),
    "django-sqlite": lambda request, clock: emptied(request, "sqlite_alias", clock),
    "django-mariadb": lambda request, clock: emptied(request, "mariadb_alias", clock),
    "django-postgresql": lambda request, clock: emptied(request, "postgresql_alias", clock),
    "sqlalchemy-mariadb": lambda request, clock: _sqlalchemy.emptied(request, "mariadb", clock),
    "sqlalchemy-postgresql": lambda request, clock: _sqlalchemy.emptied(request, "postgresql", clock),
}
_MEMORY = Path("/dev/shm")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def place(tmp_path):
    if not _MEMORY.is_dir():
        yield tmp_path
        return
    directory = Path(tempfile.mkdtemp(dir=_MEMORY))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=STORES)
def outbox(request, clock):
    with STORES[request.param](request, clock) as outbox:
        yield outbox

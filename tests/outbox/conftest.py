"""
What every test of the outbox gets: a clock it can turn, a directory without a slow disk below it, and every store.
"""

import runpy
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from remotion_licensing_integrations.outbox import MemoryOutbox, SQLiteOutbox
from tests import _server_outbox
from tests._django import emptied, set_up
from tests.outbox._values import Clock

# While tests are collected: later pytest-django takes no notice.
set_up()

#: What the how-to for a new store begins with.
TEMPLATE = runpy.run_path(str(Path(__file__).parents[2] / "docs/contributing/templates/shared_outbox.py"))
#: A new store needs one entry here to have the whole contract tested.
STORES = {
    "memory": lambda request, clock: closing(MemoryOutbox(clock=clock)),
    "sqlite": lambda request, clock: closing(
        SQLiteOutbox(request.getfixturevalue("place") / "outbox.sqlite3", clock=clock)
    ),
    "template": lambda request, clock: closing(
        TEMPLATE["SharedOutbox"](request.getfixturevalue("place") / "template.sqlite3", clock=clock)
    ),
    "django-sqlite": lambda request, clock: emptied(request, "sqlite_alias", clock),
    "django-mariadb": lambda request, clock: emptied(request, "mariadb_alias", clock),
    "django-postgresql": lambda request, clock: emptied(request, "postgresql_alias", clock),
    "server-mariadb": lambda request, clock: _server_outbox.emptied(request, "mariadb", clock),
    "server-postgresql": lambda request, clock: _server_outbox.emptied(request, "postgresql", clock),
}
#: The stores without SQL. Nothing can empty them, so each use of their entry makes a new one, in a place of its own.
WITHOUT_TABLES = {"memory"}
#: The stores that are tables.
TABLES = [name for name in STORES if name not in WITHOUT_TABLES]
#: The stores that many machines share, and the fixture of their server.
SERVERS = {name: name.partition("-")[2] for name in STORES if name.endswith(("-mariadb", "-postgresql"))}
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


@pytest.fixture(params=TABLES)
def table_outbox(request, clock):
    with STORES[request.param](request, clock) as outbox:
        yield outbox


@pytest.fixture(params=STORES)
def outbox(request, clock):
    with STORES[request.param](request, clock) as outbox:
        yield outbox

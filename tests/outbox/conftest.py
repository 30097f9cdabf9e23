"""
What every test of the outbox gets: a clock it can turn, a directory without a slow disk below it, and every store.
"""

import shutil
import tempfile
from pathlib import Path

import pytest

from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.outbox.sqlite import SQLiteOutbox
from tests.outbox._values import Clock

#: A new store needs one entry here to have the whole contract tested.
STORES = {
    "memory": lambda place, clock: MemoryOutbox(clock=clock),
    "sqlite": lambda place, clock: SQLiteOutbox(place / "outbox.sqlite3", clock=clock),
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
def outbox(request, place, clock):
    outbox = STORES[request.param](place, clock)
    yield outbox
    outbox.close()

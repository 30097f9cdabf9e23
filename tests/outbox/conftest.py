"""
What every test of the outbox gets: a clock it can turn, and a directory without a slow disk below it.
"""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.outbox._values import Clock

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

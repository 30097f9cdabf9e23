"""
A sandbox, an outbox file, and servers that share it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from remotion_licensing_integrations.testing import Sandbox
from tests._systems import skip_without_posix
from tests.processes.servers import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def _posix() -> None:
    skip_without_posix("the server of this test")


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "usage.sqlite3"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def refused_url() -> str:
    """
    Where the licensing API is while it is down: nobody listens there.
    """
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def serve(outbox: Path) -> Callable[..., Server]:
    return functools.partial(Server, outbox=outbox)

"""
The command line run in this process: its environment, its outbox, what it prints.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from remotion_licensing_integrations.operations import main
from remotion_licensing_integrations.outbox import SQLiteOutbox
from remotion_licensing_integrations.testing import Sandbox
from tests.operations._keys import KEY, PRIVATE_KEY


class Ran(NamedTuple):
    """
    What came of one command.
    """

    status: object
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def refused() -> Iterator[str]:
    """
    Give a URL at which every connection is refused, as long as the test runs.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def file(tmp_path) -> Path:
    """
    Name the outbox file that the environment names too.
    """
    return tmp_path / "usage.sqlite3"


@pytest.fixture
def run(monkeypatch, capsys, file, refused) -> Run:
    """
    Run one command with both keys in the environment, out of reach of any API.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", KEY)
    monkeypatch.setenv("REMOTION_PRIVATE_LICENSE_KEY", PRIVATE_KEY)
    monkeypatch.setenv("REMOTION_LICENSING_OUTBOX", f"sqlite:///{file}")
    monkeypatch.setenv("REMOTION_LICENSING_BASE_URL", refused)

    def run(*words: str) -> Ran:
        try:
            status: object = main(words)
        except SystemExit as ended:
            status = ended.code
        return Ran(status, *capsys.readouterr())

    return run


@pytest.fixture
def outbox(file) -> Iterator[SQLiteOutbox]:
    """
    Open the outbox as an app would.
    """
    outbox = SQLiteOutbox(file)
    outbox.open()
    yield outbox
    outbox.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """
    Run one licensing server for all tests of a module.
    """
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def api(server, run, monkeypatch) -> Sandbox:
    """
    Bring the licensing server, empty and in good health, into reach.
    """
    server.clear()
    server.set_failure()
    monkeypatch.setenv("REMOTION_LICENSING_BASE_URL", server.url)
    return server

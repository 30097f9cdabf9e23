"""
`manage.py runserver`, which runs the project in a child and starts that anew whenever a module has changed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.django.processes.servers import PROJECT, Server
from tests.processes.servers import DEADLINE, eventually

SETTINGS = "settings_that_change"


@pytest.fixture
def module(tmp_path):
    """
    A settings module that a test may change.
    """
    module = tmp_path / f"{SETTINGS}.py"
    module.write_text(f"from {PROJECT}.settings import *\n")
    return module


@pytest.fixture
def server(module, sqlite_file, sandbox):
    """
    The server, with its reloader.
    """
    settings = {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PYTHONPATH": str(module.parent),
        "REMOTION_LICENSING_BASE_URL": sandbox.url,
        "REMOTION_LICENSING_DELIVERY": "worker",
    }
    with Server("runserver", sqlite_file, **settings) as server:
        yield server


def threads(pid):
    """
    Return how many threads a process has.
    """
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.is_dir():
        pytest.skip("this system does not say how many threads a process has: there is no /proc")
    return len(list(tasks.iterdir()))


def serving(server):
    """
    Return the id of the process that answers, if one does.
    """
    with suppress(OSError, HTTPException, ValueError):  # a server that goes away may answer with half a body
        return server.call("/health", "GET")["pid"]


def test_the_reloader_starts_no_thread(server, sandbox):
    """
    Only the child has threads of ours; its parent, which loads the project, too, has none.
    """
    answer = server.call("/convert")
    sandbox.wait_for(points=1, timeout=DEADLINE)

    assert answer["pid"] != server.pid
    assert threads(server.pid) == 1


def test_conversions_before_and_after_a_reload_are_registered(server, sandbox, module):
    """
    The child registers its points, and so does the next one.
    """
    before = server.call("/convert")
    sandbox.wait_for(points=1, timeout=DEADLINE)
    # Some file systems keep whole seconds only.
    os.utime(module, (module.stat().st_mtime + 5,) * 2)
    eventually(lambda: serving(server) not in {None, before["pid"]})
    after = server.call("/convert")
    sandbox.wait_for(points=2, timeout=DEADLINE)

    assert sandbox.idempotency_keys() == [before["idempotency_key"], after["idempotency_key"]]

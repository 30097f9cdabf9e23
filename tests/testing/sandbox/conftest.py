"""
One sandbox for the tests of a module, empty and answering before each.
"""

import pytest

from remotion_licensing_integrations.testing import Sandbox
from tests._http import httpx


@pytest.fixture(scope="module")
def running():
    with Sandbox() as sandbox, httpx.Client(base_url=sandbox.url, timeout=5) as client:
        yield sandbox, client


@pytest.fixture
def sandbox(running):
    running[0].clear()
    running[0].set_failure()
    return running[0]


@pytest.fixture
def client(running, sandbox):
    return running[1]

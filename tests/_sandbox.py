"""
A sandbox that the tests of a module share, empty and well before each.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from remotion_licensing_integrations.testing import Sandbox


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox) -> Sandbox:
    running_sandbox.clear()
    running_sandbox.set_failure()
    return running_sandbox

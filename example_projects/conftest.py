"""
What the tests of all example projects need.
"""

from collections.abc import Iterator

import pytest

from remotion_licensing_integrations.testing import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """
    A licensing server.
    """
    with Sandbox() as sandbox:
        yield sandbox

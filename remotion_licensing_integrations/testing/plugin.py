"""
A pytest plugin: the fixture `remotion_usage` shows what an app would have registered, and nothing leaves the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .recorded import RecordedUsage


@pytest.fixture
def remotion_usage() -> Iterator[RecordedUsage]:
    """
    Take the usage points of every recorder, with or without a licence key, instead of storing and delivering them.
    """
    # The plugin is loaded in test runs that never need it.
    from ..recording import keep_all_with  # noqa: PLC0415 - see above
    from .recorded import RecordedUsage  # noqa: PLC0415 - see above

    with keep_all_with(recorded := RecordedUsage()):
        yield recorded

"""
Deliverers for a test, closed at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests._delivery import Reply, Rig


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    """
    Makes rigs and closes their deliverers.
    """
    rigs: list[Rig] = []

    def make(*replies: Reply, **options: Any) -> Rig:
        rigs.append(Rig(*replies, **options))
        return rigs[-1]

    yield make
    for made in rigs:
        made.deliverer.close()

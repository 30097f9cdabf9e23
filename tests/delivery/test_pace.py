"""
How long a point waits for its next attempt.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotion_licensing_integrations.delivery.pace import MAX_BACKOFF, backoff


@pytest.mark.parametrize(
    ("attempts", "bound"), [(0, 2), (1, 4), (5, 64), (8, 512), (9, 900), (10, 900), (10**9, 900), (10**400, 900)]
)
def test_backoff_bound(attempts: int, bound: float) -> None:
    """
    The bound doubles from 2 s to 15 min and no number of attempts overflows it.
    """
    assert bound == backoff(attempts, uniform=lambda _, high: high)


def test_backoff_is_full_jitter() -> None:
    """
    The lower bound is 0.
    """
    assert backoff(5, uniform=lambda low, _: low) == 0


@given(st.integers(0, 10_000))
def test_backoff_range(attempts: int) -> None:
    """
    Real draws stay within the bounds.
    """
    assert 0 <= backoff(attempts) <= MAX_BACKOFF

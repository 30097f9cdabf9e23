"""
What every outbox promises of points for several licence keys: each goes only to a deliverer that has its key.
"""

from __future__ import annotations

import pytest

from tests.outbox._values import DAY, claim, keys, point


@pytest.fixture
def shared(outbox, clock):
    """
    An outbox with points for the keys of two apps, and one for any key, due one after the other.
    """
    for key, fingerprint in (("a-1", "a"), ("any", None), ("b-1", "b"), ("a-2", "a")):
        outbox.add([point(key, key_fingerprint=fingerprint)])
        clock.now += 1
    return outbox


@pytest.mark.parametrize(
    ("fingerprints", "claimed"),
    [
        ([], ["any"]),
        (["a"], ["a-1", "any", "a-2"]),
        (["b", "b"], ["any", "b-1"]),
        (["b", "a"], ["a-1", "any", "b-1", "a-2"]),
        (["c", ""], ["any"]),
    ],
)
def test_claim_leaves_points_for_other_keys(shared, fingerprints, claimed):
    """
    A claim takes what its keys are for and what is for any key, longest due first; the rest stays pending.
    """
    assert keys(shared.claim(9, lease=60, fingerprints=fingerprints)) == claimed
    assert (shared.counts().pending, shared.counts().claimed) == (4, len(claimed))


@pytest.mark.parametrize("limit", range(4))
def test_limit_over_all_keys(shared, limit):
    """
    Of several keys, too, a claim takes the points that have been due for longest.
    """
    assert keys(shared.claim(limit, lease=60, fingerprints=["b", "a"])) == ["a-1", "any", "b-1"][:limit]


def test_points_from_the_future_for_several_keys(shared, clock):
    """
    When the clock was set back, they come behind those that are due, whatever the key.
    """
    clock.now -= DAY
    shared.add([point("a-3", key_fingerprint="a")])

    assert keys(shared.claim(3, lease=60, fingerprints=["b", "a"])) == ["a-3", "a-1", "any"]


def test_next_due_of_other_keys(shared, clock):
    """
    A point for another key makes no deliverer look again.
    """
    claim(shared)

    assert [shared.next_due(fingerprints) for fingerprints in ([], ["a"], ["c"])] == [60, 0, 60]

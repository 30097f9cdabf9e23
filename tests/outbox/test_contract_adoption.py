"""
What every outbox promises of points that get another licence key.
"""

from __future__ import annotations

import pytest

from remotion_licensing_integrations.outbox import State
from tests.outbox._values import claim, keys, moment, point

LEASE = 60


@pytest.fixture
def outbox(outbox):
    """
    An outbox with a point for a former key.
    """
    outbox.add([point("old", key_fingerprint="former")])
    return outbox


def test_adopted_point_is_due_for_the_new_key(outbox):
    """
    An adopted point is claimed with the new key, and no longer with the former one.
    """
    assert outbox.adopt("former", "new") == 1
    assert keys(outbox.claim(9, lease=LEASE, fingerprints=["former"])) == []
    assert keys(outbox.claim(9, lease=LEASE, fingerprints=["new"])) == ["old"]


@pytest.mark.parametrize("fingerprint", [None, "third"])
def test_points_for_other_keys_are_not_adopted(outbox, fingerprint):
    """
    Points for other keys, and those for any key, stay as they are.
    """
    outbox.add([point("other", key_fingerprint=fingerprint)])
    outbox.adopt("former", "new")

    assert outbox.get("other").point.key_fingerprint == fingerprint
    assert outbox.adopt("", "new") == 0


def test_rescheduled_point_is_due_at_once(outbox):
    """
    What the former key had to wait for does not hold for the new one; the error stays to be read.
    """
    [claimed] = outbox.claim(1, lease=LEASE, fingerprints=["former"])
    outbox.update([claimed.reschedule(1000, "HTTP 500")])
    outbox.adopt("former", "new")

    assert outbox.next_due(["new"]) == 0
    assert outbox.get("old").last_error == "HTTP 500"


def test_claimed_point_is_not_adopted(outbox):
    """
    A point that a deliverer with the former key is sending would be counted twice.
    """
    [claimed] = outbox.claim(1, lease=LEASE, fingerprints=["former"])

    assert outbox.adopt("former", "new") == 0
    assert outbox.update([claimed.release()]) == 1
    assert outbox.adopt("former", "new") == 1


def test_unanswered_point_is_held(outbox, clock):
    """
    A point that may have been counted for the former key waits for a person, and knows since when; its claim is void.
    """
    [claimed] = outbox.claim(1, lease=LEASE, fingerprints=["former"])
    clock.now += LEASE

    assert outbox.adopt("former", "new") == 1
    stored = outbox.get("old")
    assert (stored.state, stored.unanswered_since) == (State.HELD, moment(LEASE))
    assert stored.last_error == "it was sent for another licence key, got no answer, and may have been counted"
    assert outbox.update([claimed.release()]) == 0


def test_held_point_is_retried_for_the_new_key(outbox):
    """
    When a person decides that an unanswered point was not counted, it is sent for the new key.
    """
    [claimed] = outbox.claim(1, lease=LEASE, fingerprints=["former"])
    outbox.update([claimed.reschedule(0, "ReadTimeout", unanswered=True)])
    outbox.adopt("former", "new")

    assert claim(outbox) == []
    assert outbox.retry(["old"]) == 1
    assert keys(outbox.claim(1, lease=LEASE, fingerprints=["new"])) == ["old"]

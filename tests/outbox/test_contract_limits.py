"""
What every outbox promises of counting points for usage limits, as one suite over all stores.
"""

from __future__ import annotations

import pytest

from remotion_licensing_integrations.outbox import EXPECTED_FOR, State
from tests.outbox._values import START, bring, moment, point, points


def test_expected(outbox):
    """
    Points that the API has not taken yet are expected, by event; finished ones are not.
    """
    for state in (State.REGISTERED, State.REJECTED, State.HELD):
        bring(outbox, state, state.value)
    outbox.add([*points(2), point("web", event="web-render"), point("open", succeeded=None)])

    assert outbox.expected().by_event == {"cloud-render": 3, "web-render": 1}


@pytest.mark.parametrize("fields", [{"succeeded": False}, {"is_production": False}])
def test_what_is_never_billed_is_not_counted(outbox, fields):
    """
    Failed points and those of development are neither expected nor counted as added.
    """
    before = outbox.expected()
    outbox.add([point(**fields)])

    assert outbox.expected().by_event == outbox.added_after(before.last_row) == {}


def test_work_that_never_ended_is_not_expected(outbox, clock):
    """
    A point that has been deferred for longer than a day is no longer expected; a pending one is.
    """
    clock.now = START + EXPECTED_FOR.total_seconds() + 1
    outbox.add([point("old", succeeded=None), point("waiting"), point("new", succeeded=None, occurred_at=moment(2))])

    assert outbox.expected().by_event == {"cloud-render": 2}


def test_added_after(outbox):
    """
    Later points count whatever becomes of them, unless they are rejected.
    """
    bring(outbox, State.REGISTERED, "before")
    row = outbox.expected().last_row
    bring(outbox, State.HELD, "held")
    bring(outbox, State.REGISTERED, "registered")
    bring(outbox, State.REJECTED, "rejected")
    outbox.add([point("open", succeeded=None), point("web", event="web-render")])

    assert outbox.added_after(row) == {"cloud-render": 3, "web-render": 1}


def test_added_until(outbox):
    """
    Points count up to one of them, none when that is unknown.
    """
    row = outbox.expected().last_row
    for added in points(3):
        outbox.add([added])

    assert [outbox.added_after(row, until=key).get("cloud-render", 0) for key in ("key-0", "key-1", "?")] == [1, 2, 0]


def test_expected_until(outbox):
    """
    Expected points count up to one of them, none when that is unknown.
    """
    for added in points(3):
        outbox.add([added])

    assert [outbox.expected(until=key).by_event.get("cloud-render", 0) for key in ("key-0", "key-1", "?")] == [1, 2, 0]


def test_pending_ones_of_the_expected(outbox):
    """
    Of the expected points, those with an outcome are told apart: they may be registered at any moment.
    """
    outbox.add([*points(2), point("web", event="web-render"), point("open", succeeded=None)])

    assert outbox.expected().pending == {"cloud-render": 2, "web-render": 1}


def test_points_for_other_keys_are_not_counted(outbox):
    """
    Points for a licence key with another fingerprint are another project's.
    """
    row = outbox.expected().last_row
    outbox.add([point("own", key_fingerprint="own"), point("other", key_fingerprint="other"), point("any")])

    assert outbox.expected(["own"]).by_event == outbox.added_after(row, ["own"]) == {"cloud-render": 2}

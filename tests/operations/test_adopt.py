"""
Points for licence keys that are not set here: how they are shown, and how they become due for today's key.
"""

from __future__ import annotations

import json

import pytest

from remotion_licensing_integrations.points import make_fingerprint
from tests.operations._keys import KEY
from tests.outbox._values import point

FORMER = make_fingerprint("rm_pub_former")
SHOWN = (
    f"2 pending points for another licence key ({FORMER}), which only an app with that key sends. Is it your former "
    f"key? `retry --adopt {FORMER}` makes them due for today's."
)


@pytest.fixture
def outbox(outbox):
    """
    An outbox with points for a former key, for today's and for any.
    """
    outbox.add([point(key, key_fingerprint=FORMER) for key in "ab"])
    outbox.add([point("c", key_fingerprint=make_fingerprint(KEY)), point("d")])
    outbox.add([point("e", key_fingerprint=FORMER, succeeded=None)])
    return outbox


def test_status_counts_points_for_other_keys(run, outbox) -> None:
    """
    `status` says how many points only another key sends, and what to do; this alone needs no attention.
    """
    outbox.discard(["e"])
    ran = run("status")

    assert (ran.status, SHOWN in ran.out.replace("\n", " ")) == (0, True)
    assert json.loads(run("status", "--json").out)["other_keys"] == {FORMER: 2}


def test_doctor_warns_of_points_for_other_keys(run, outbox) -> None:
    """
    `doctor` says the same.
    """
    assert f"warning {SHOWN}" in run("doctor").out.replace("\n", " ")


def test_without_a_key_no_key_is_another(run, outbox, monkeypatch) -> None:
    """
    A shell without the app's key does not take all points for those of others.
    """
    for variable in ("REMOTION_LICENSE_KEY", "REMOTION_PRIVATE_LICENSE_KEY"):
        monkeypatch.setenv(variable, "")

    assert json.loads(run("status", "--json").out)["other_keys"] == {}


def test_adopted_points_are_delivered(run, outbox, api) -> None:
    """
    After a change of the key, what was recorded before it is registered, too.
    """
    assert run("retry", "--adopt", FORMER) == (
        0,
        "2 usage points for today's key now; what was sent without an answer is held.\n",
        "",
    )
    run("deliver", "--once")

    assert sorted(api.idempotency_keys()) == ["a", "b", "c", "d"]


def test_claimed_points_are_left(run, outbox) -> None:
    """
    What a deliverer with the former key is sending stays with it; status 1.
    """
    outbox.discard(["c", "d"])
    outbox.claim(1, lease=60, fingerprints=[FORMER])
    ran = run("retry", "--adopt", FORMER, "--json")

    assert (ran.status, json.loads(ran.out)) == (1, {"adopted": 1, "left": 1})


@pytest.mark.parametrize("fingerprint", ["0123456789abcdef", make_fingerprint(KEY), ""])
def test_adopt_a_key_without_points(fingerprint: str, run, outbox) -> None:
    """
    A fingerprint that no pending point has, or that is today's, is a mistake.
    """
    assert run("retry", "--adopt", fingerprint) == (
        2,
        "",
        f"error: retry: no pending point is for another key with the fingerprint {fingerprint!r}; see `status`\n",
    )


def test_adopt_without_a_key(run, outbox, monkeypatch) -> None:
    """
    Points become due for today's key, so there must be one.
    """
    for variable in ("REMOTION_LICENSE_KEY", "REMOTION_PRIVATE_LICENSE_KEY"):
        monkeypatch.setenv(variable, "")

    assert run("retry", "--adopt", FORMER) == (
        2,
        "",
        "error: license_key: set REMOTION_LICENSE_KEY, the key for which the points become due\n",
    )


def test_adopt_and_more(run, outbox) -> None:
    """
    One call does one thing.
    """
    assert run("retry", "--adopt", FORMER, "--all").status == 2

"""
Points for several licence keys in one outbox, from the request to the licensing API.
"""

from __future__ import annotations

from typing import Any

import pytest

from remotion_licensing_integrations import UsagePoint, conversion
from remotion_licensing_integrations.outbox import MemoryOutbox, SQLiteOutbox
from remotion_licensing_integrations.points import log_point, make_fingerprint, read_point
from remotion_licensing_integrations.usage import current_usage
from tests._delivery import Api
from tests._outboxes import PATIENCE, new_point
from tests._recorders import BOTH, actions, record

OURS, THEIRS, PRIVATE = "rm_pub_ours", "rm_pub_theirs", "rm_sec_ours"


@pytest.fixture
def apps(make_recorder) -> Any:
    """
    Two apps with a key each that share an outbox, perhaps by mistake: their recorders, and what each has sent.
    """
    store, apis = MemoryOutbox(), (Api(), Api())
    recorders = [
        make_recorder(store=store, license_key=key, transport=api.transport)
        for key, api in zip((OURS, THEIRS), apis, strict=True)
    ]
    return (*recorders, *apis)


@BOTH
def test_recorded_for_the_key_of_the_app(make_recorder, slow_outbox, how: str) -> None:
    """
    A point that an app records directly is for the app's key, too; the key itself is not kept.
    """
    assert record(make_recorder(license_key=OURS), how)
    [stored] = slow_outbox.list()

    assert stored.point.key_fingerprint == make_fingerprint(OURS)
    assert OURS not in repr(stored)


def test_each_app_sends_its_own(apps) -> None:
    """
    Each point is registered with the key that it is for, whichever app delivers first; the rest stays pending.
    """
    ours, theirs, our_api, their_api = apps
    for key in "12":
        ours.record(new_point(f"ours-{key}"), wait=PATIENCE)
        theirs.record(new_point(f"theirs-{key}"), wait=PATIENCE)

    assert theirs.deliver() == 2
    assert (ours.counts().stored.pending, theirs.next_due(), ours.next_due()) == (2, None, 0)
    assert ours.deliver() == 2
    assert {body["apiKey"]: body["idempotencyKey"][:-2] for body in our_api.bodies + their_api.bodies} == {
        OURS: "ours",
        THEIRS: "theirs",
    }


def test_point_for_any_key(apps) -> None:
    """
    A point without a fingerprint, of an earlier release, is sent by the first deliverer.
    """
    ours, theirs, *_ = apps
    theirs.outbox.add([new_point()])

    assert (theirs.deliver(), ours.deliver()) == (1, 0)


def test_deferred_point_keeps_its_key(apps) -> None:
    """
    The app that completes a token, if it is another one, does not change which key the point is for.
    """
    ours, theirs, our_api, _ = apps
    with conversion("cloud-render", recorder=ours):
        token = current_usage().defer()
    theirs.complete(token, succeeded=True, wait=PATIENCE)

    assert (theirs.deliver(), ours.deliver()) == (0, 1)
    assert [body["apiKey"] for body in our_api.bodies] == [OURS]


def test_both_keys_of_a_project(make_recorder) -> None:
    """
    Points of an app that had only the private key are registered with the public one, once it is set beside it.
    """
    store, api = MemoryOutbox(), Api()
    make_recorder(store=store, license_key=None, private_license_key=PRIVATE).record(new_point(), wait=PATIENCE)
    both = make_recorder(store=store, license_key=OURS, private_license_key=PRIVATE, transport=api.transport)

    assert both.deliver() == 1
    assert [body["apiKey"] for body in api.bodies] == [OURS]


def test_only_the_private_key(make_recorder, caplog) -> None:
    """
    An app with the private key only registers with it, and says so once.
    """
    api = Api()
    recorder = make_recorder(license_key=None, private_license_key=PRIVATE, transport=api.transport)
    for key in "12":
        recorder.record(new_point(key), wait=PATIENCE)

    assert recorder.deliver() == 2
    assert [body["apiKey"] for body in api.bodies] == [PRIVATE, PRIVATE]
    assert actions(caplog) == ["private_license_key"]
    assert PRIVATE not in caplog.text


def test_label_and_key_survive_the_spill(make_recorder, slow_outbox, tmp_path) -> None:
    """
    A point that waits in the spill keeps its label and its key.
    """
    slow_outbox.refuses = True
    recorder = make_recorder(license_key=OURS, spill=f"sqlite:///{tmp_path}/spill.sqlite3")
    with conversion("cloud-render", label="customer-42", recorder=recorder):
        pass
    [spilled] = SQLiteOutbox(tmp_path / "spill.sqlite3").list()

    assert (spilled.point.label, spilled.point.key_fingerprint) == ("customer-42", make_fingerprint(OURS))


def test_label_and_key_survive_the_log(caplog) -> None:
    """
    The log line of last resort has the label and the fingerprint.
    """
    point = UsagePoint(
        event="web-render", host=None, succeeded=True, label="customer-42", key_fingerprint=make_fingerprint(OURS)
    )
    log_point(point)

    assert read_point(caplog.text) == point


def test_printed_keys(make_recorder) -> None:
    """
    Keys are printed as their fingerprints.
    """
    keys = make_recorder(license_key=OURS, private_license_key=PRIVATE).keys

    assert repr(keys) == f"LicenseKeys({make_fingerprint(OURS)}, {make_fingerprint(PRIVATE)})"

"""
What a status page learns of a recorder.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder
from remotion_licensing_integrations.operations import Health, healthy
from remotion_licensing_integrations.outbox import MemoryOutbox
from tests._delivery import DOWN, Api, RefusingOutbox, answer
from tests._outboxes import new_point

REFUSED_KEY = answer(401, b'{"success":false,"error":"Invalid API key"}')


def test_all_is_well(make_recorder, patient):
    """
    A recorder whose points are stored and young is healthy.
    """
    recorder = make_recorder()
    recorder.record(new_point())

    assert healthy(recorder) == Health(ok=True)


def test_no_key():
    """
    Without a licence key nothing is recorded.
    """
    [reason] = healthy(UsageRecorder(Settings(), outbox=MemoryOutbox())).reasons

    assert "licence key" in reason


def test_points_in_memory_only(make_recorder, slow_outbox, patient):
    """
    Points that no store takes are named.
    """
    slow_outbox.refuses = True
    recorder = make_recorder(spill="off")
    recorder.record(new_point())

    assert healthy(recorder).reasons == (
        "Usage points are in memory only (1): neither the outbox nor the spill takes them.",
    )


def test_points_in_the_log_only(make_recorder, slow_outbox, patient, caplog):
    """
    Points that only the log has are named.
    """
    slow_outbox.refuses = True
    recorder = make_recorder(spill="off")
    recorder.record(new_point())
    writer = recorder._threads.writer
    writer._give_up([new_point()])

    assert any("in the log only (1)" in reason for reason in healthy(recorder).reasons)


def test_a_spill_that_cannot_be_used(make_recorder, tmp_path):
    """
    A spill that cannot be a file is named.
    """
    (tmp_path / "file").touch()
    recorder = make_recorder(spill=f"sqlite:///{tmp_path}/file/spill.sqlite3")

    assert [reason.partition(":")[0] for reason in healthy(recorder).reasons] == ["The spill cannot be used"]


def test_a_usable_spill(make_recorder, tmp_path):
    """
    A spill in an ordinary place is none of the reasons, even when `doctor` warns of it.
    """
    file = tmp_path / "spill.sqlite3"
    file.touch(0o644)
    recorder = make_recorder(spill=f"sqlite:///{file}")

    assert healthy(recorder).ok


def test_an_outbox_that_refuses(make_recorder):
    """
    An outbox that cannot be read is named.
    """
    outbox = RefusingOutbox()
    outbox.refuses = frozenset({"counts"})

    assert healthy(make_recorder(store=outbox)).reasons == ("The outbox refuses: the disk is full",)


@pytest.mark.parametrize(("reply", "ok"), [(REFUSED_KEY, False), (DOWN, True), (answer(429), True)])
def test_paused_delivery(make_recorder, patient, reply, ok):
    """
    A pause that a person must end is named; an outage, which ends by itself, is not.
    """
    recorder = make_recorder(store=MemoryOutbox(), transport=Api(reply).transport)
    for key in range(6):
        recorder.record(new_point(str(key)))
    recorder.deliver()

    assert healthy(recorder).ok is ok


def test_points_that_are_too_old(make_recorder, patient):
    """
    Points that have been pending for longer than `max_lag`, or than is asked for, are named.
    """
    recorder = make_recorder(max_lag=60)
    old = datetime.now(UTC) - timedelta(seconds=90)
    recorder.record(UsagePoint(event="cloud-render", host=None, succeeded=True, occurred_at=old))

    assert [reason.partition("pending")[0] for reason in healthy(recorder).reasons] == ["The oldest of 1 "]
    assert healthy(recorder, max_age=1000).ok

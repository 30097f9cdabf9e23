"""
The spill: a file that keeps points while the outbox refuses them or is silent.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest

from remotion_licensing_integrations.errors import ConfigurationError, OutboxError
from remotion_licensing_integrations.outbox import SQLiteOutbox, State
from remotion_licensing_integrations.points import UsagePoint, new_idempotency_key
from remotion_licensing_integrations.recording import spill as spill_module
from remotion_licensing_integrations.recording import writer as writer_module
from remotion_licensing_integrations.recording.entries import Forget
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.recording.spill import Spill
from remotion_licensing_integrations.settings import Settings
from tests._outboxes import PATIENCE, SlowOutbox, new_point
from tests._recorders import BOTH, actions, record, threads


@pytest.fixture
def file(tmp_path) -> SQLiteOutbox:
    return SQLiteOutbox(tmp_path / "spill.sqlite3")


@pytest.fixture
def spilling(make_recorder, file) -> Callable[..., UsageRecorder]:
    """
    Make recorders with the spill *file*.
    """
    return lambda **settings: make_recorder(spill=f"sqlite:///{file.path}", **settings)


@pytest.fixture
def retry_soon(monkeypatch) -> None:
    monkeypatch.setattr(spill_module, "MOVE_AFTER", 0.01)


@pytest.fixture
def retry_never(monkeypatch) -> None:
    monkeypatch.setattr(spill_module, "MOVE_AFTER", 1_000.0)


def keys(store: SlowOutbox | SQLiteOutbox) -> list[str]:
    return sorted(stored.point.idempotency_key for stored in store.list(limit=1_000))


def wait_until(condition: Callable[[], object]) -> None:
    """
    Wait for what another thread does.
    """
    tick = threading.Event()
    for _ in range(PATIENCE * 100):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError


@BOTH
@pytest.mark.usefixtures("patient", "retry_never")
def test_refused(spilling, slow_outbox, file, how) -> None:
    """
    A point that the outbox refuses is committed to the spill, and reported as committed.
    """
    slow_outbox.refuses = True
    recorder = spilling()

    assert record(recorder, how)
    assert (keys(file), keys(slow_outbox), recorder.counts().spilled) == (["0"], [], 1)


@BOTH
@pytest.mark.usefixtures("patient", "retry_never")
def test_silent(spilling, slow_outbox, file, how) -> None:
    """
    A point for which the outbox does not answer is committed to the spill while its request waits.
    """
    slow_outbox.gate.clear()

    assert record(spilling(), how)
    assert keys(file) == ["0"]


@pytest.mark.usefixtures("retry_never")
def test_silent_to_both_threads(spilling, slow_outbox, file, monkeypatch) -> None:
    """
    A point is spilled also when the outbox, asked to store it, is silent then to the move of another process's points.
    """
    monkeypatch.setattr(spill_module, "LOOK_AFTER", 0.01)
    monkeypatch.setattr(writer_module, "SILENCE", 1_000.0)
    slow_outbox.gate.clear()
    recorder = spilling()
    assert not recorder.record(new_point(), wait=0.0)
    slow_outbox.wait_entered()
    file.add([new_point("other")])
    slow_outbox.wait_entered()
    monkeypatch.setattr(writer_module, "SILENCE", 0.0)

    assert recorder.record(new_point("1"), wait=PATIENCE / 2)
    assert keys(file) == ["0", "1", "other"]


@pytest.mark.usefixtures("patient", "retry_never")
def test_away(spilling, slow_outbox, file) -> None:
    """
    While the outbox is away, points go to the spill at once, without asking the outbox.
    """
    slow_outbox.refuses = True
    recorder = spilling()
    record(recorder, "record", "first")
    slow_outbox.wait_entered(2)  # for the point, and to move it

    assert [record(recorder, "record", key) for key in ("second", "third")] == [True, True]
    assert (keys(file), slow_outbox.batches) == (["first", "second", "third"], [1, 1])


@pytest.mark.usefixtures("patient", "retry_soon")
def test_recovery(spilling, slow_outbox, file, caplog) -> None:
    """
    Points move to the outbox when it accepts them again, later ones go there directly, and the log says both once.
    """
    slow_outbox.refuses = True
    recorder = spilling()
    record(recorder, "record", "first")
    record(recorder, "record", "second")
    slow_outbox.refuses = False
    slow_outbox.wait_stored(2)
    wait_until(lambda: not keys(file))
    wait_until(lambda: "outbox_recovered" in actions(caplog))
    record(recorder, "record", "third")

    assert (keys(slow_outbox), keys(file)) == (["first", "second", "third"], [])
    assert [action for action in actions(caplog) if action.startswith("outbox")] == [
        "outbox_refused",
        "outbox_recovered",
    ]


@pytest.mark.usefixtures("patient", "retry_soon")
def test_silence_ends(spilling, slow_outbox, file) -> None:
    """
    A point that a silent outbox takes after all is one point, and leaves the spill.
    """
    slow_outbox.gate.clear()
    recorder = spilling()
    record(recorder, "record")
    slow_outbox.gate.set()
    wait_until(lambda: keys(slow_outbox) and not keys(file))

    assert record(recorder, "record", "1")
    wait_until(lambda: keys(slow_outbox) == ["0", "1"])
    assert keys(file) == []


@pytest.mark.usefixtures("patient", "retry_never")
def test_next_process(spilling, slow_outbox, file) -> None:
    """
    What a recorder leaves in the spill, the next one moves when it starts.
    """
    slow_outbox.refuses = True
    first = spilling()
    record(first, "record")
    first.stop(PATIENCE)
    slow_outbox.refuses = False
    spilling().start()
    slow_outbox.wait_stored()
    wait_until(lambda: not keys(file))

    assert keys(slow_outbox) == ["0"]


@pytest.mark.usefixtures("patient", "retry_never")
def test_points_of_others(spilling, slow_outbox, file, monkeypatch) -> None:
    """
    A recorder looks for points that another process leaves in the spill later.
    """
    monkeypatch.setattr(spill_module, "LOOK_AFTER", 0.01)
    spilling().start()
    file.add([new_point("other")])
    slow_outbox.wait_stored()
    wait_until(lambda: not keys(file))

    assert keys(slow_outbox) == ["other"]


def test_two_movers(slow_outbox, file) -> None:
    """
    Points that two processes move at the same time are each in the outbox once.
    """
    file.add([new_point(str(number)) for number in range(600)])
    movers = [threading.Thread(target=Spill(slow_outbox, file).move) for _ in range(2)]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join(PATIENCE)

    assert (slow_outbox.counts().pending, keys(file)) == (600, [])


def test_unreadable_point(slow_outbox, file, caplog) -> None:
    """
    A damaged point in the spill does not keep the others there, and is named once.
    """
    file.add([new_point("damaged"), new_point("sound")])
    file.close()
    with closing(sqlite3.connect(file.path)) as connection, connection:
        connection.execute("UPDATE remotion_usage_point SET event = 'unknown' WHERE idempotency_key = 'damaged'")
    spill = Spill(slow_outbox, file)

    assert [spill.move() for _ in range(5)] == [1, 0, 0, 0, 0]
    assert (keys(slow_outbox), caplog.text.count("damaged")) == (["sound"], 2)  # with the sound one, and alone


@pytest.mark.parametrize("reached", ["outbox", "neither"])
def test_broken_move(slow_outbox, file, monkeypatch, reached) -> None:
    """
    A move that ends before or after the outbox has the points is done again, and each point is there once.
    """
    file.add([new_point()])
    with monkeypatch.context() as broken:
        broken.setattr(*((file, "discard") if reached == "outbox" else (slow_outbox, "add")), refuse)
        with pytest.raises(OutboxError):
            Spill(slow_outbox, file).move()

    assert Spill(slow_outbox, file).move() == 1
    assert (keys(slow_outbox), keys(file)) == (["0"], [])


def refuse(*_: object) -> None:
    msg = "refused"
    raise OutboxError(msg)


@pytest.mark.usefixtures("patient")
def test_neither(spilling, slow_outbox, file, monkeypatch, caplog) -> None:
    """
    A point that neither the outbox nor the spill takes stays in memory until one of them does.
    """
    slow_outbox.refuses = True
    monkeypatch.setattr(SQLiteOutbox, "add", refuse)
    recorder = spilling()

    assert not record(recorder, "record")
    assert recorder.counts().waiting == 1
    slow_outbox.refuses = False
    slow_outbox.wait_stored()
    assert keys(slow_outbox) == ["0"]


@pytest.mark.usefixtures("patient", "retry_never")
def test_stop(spilling, slow_outbox, file, caplog) -> None:
    """
    A recorder that stops while its outbox is silent leaves the points in the spill, not in the log.
    """
    slow_outbox.gate.clear()
    recorder = spilling()
    assert not recorder.record(new_point(), wait=0.0)
    recorder.stop(2)  # seconds, which it takes, because the outbox does not answer

    assert keys(file) == ["0"]
    assert "usage_point" not in caplog.text


@pytest.mark.usefixtures("patient", "retry_soon")
def test_deferred(spilling, slow_outbox, file) -> None:
    """
    A deferred point and its outcome, both spilled, become one point with the outcome.
    """
    slow_outbox.refuses = True
    recorder = spilling()
    key = new_idempotency_key()
    for succeeded in (None, True):
        recorder.record(new_point(key) if succeeded else deferred(key))
    [spilled] = file.list()
    slow_outbox.refuses = False
    wait_until(lambda: keys(slow_outbox))

    assert (spilled.state, slow_outbox.get(key).state) == (State.PENDING, State.PENDING)


def test_outcome_during_a_move(slow_outbox, file) -> None:
    """
    The outcome of a deferred point that comes to the spill while that point is moved reaches the outbox.
    """
    spill = Spill(slow_outbox, file)
    key = new_idempotency_key()
    spill.keep([deferred(key)])
    slow_outbox.gate.clear()
    mover = threading.Thread(target=spill.move)
    mover.start()
    slow_outbox.wait_entered()
    spill.keep([new_point(key)])
    slow_outbox.gate.set()
    mover.join(PATIENCE)

    assert (slow_outbox.get(key).state, keys(file)) == (State.PENDING, [])


def deferred(key: str) -> UsagePoint:
    return replace(new_point(key), succeeded=None)


@pytest.mark.usefixtures("patient", "retry_soon")
def test_forgotten(spilling, slow_outbox, file) -> None:
    """
    A deferral that is forgotten while the outbox is away is gone when the outbox is back.
    """
    slow_outbox.refuses = True
    recorder = spilling()
    recorder.record(deferred("0"))
    assert not recorder.record(Forget("0"))
    slow_outbox.refuses = False
    wait_until(lambda: recorder.counts().waiting == 0 and not keys(file))

    assert keys(slow_outbox) == []


def test_at_exit(spilling, slow_outbox, file, monkeypatch) -> None:
    """
    When no thread can start any more, a point that the outbox refuses goes to the spill.
    """
    slow_outbox.refuses = True
    monkeypatch.setattr(threading.Thread, "start", lambda _: refuse_thread())

    assert spilling().record(new_point())
    assert keys(file) == ["0"]


def refuse_thread() -> None:
    msg = "can't start new thread"
    raise RuntimeError(msg)


@pytest.mark.parametrize("options", [{"spill": "off"}, {}], ids=["off", "test run"])
def test_no_spill(make_recorder, slow_outbox, options) -> None:
    """
    Without a spill there is no thread for it; in a test run the default one is off.
    """
    recorder = make_recorder(**options)
    recorder.start()

    assert (recorder.spill, threads()) == (None, ["remotion-usage-writer"])


def test_spill_is_the_outbox(tmp_path) -> None:
    """
    The spill cannot be the outbox itself.
    """
    url = f"sqlite:///{tmp_path}/usage.sqlite3"
    with pytest.raises(ConfigurationError, match=r"^spill: .*usage\.sqlite3' is the outbox"):
        Settings(outbox=url, spill=url)

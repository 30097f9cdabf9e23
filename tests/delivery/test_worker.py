"""
The delivery thread: when it wakes, how it stops, what it survives.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from remotion_licensing_integrations.delivery import worker as worker_module
from remotion_licensing_integrations.delivery.worker import Worker
from tests._delivery import OK, PATIENCE, RefusingOutbox, Rig, answer

NEVER = 1_000.0  # seconds, longer than any test waits


class Stage(Rig):
    """
    A rig under real clocks, with a worker.
    """

    def __init__(self, *replies: Any, **options: Any) -> None:
        super().__init__(*replies, clock=time.monotonic, **options)
        self.outbox._clock = time.time
        self.attended = threading.Semaphore(0)
        self.worker = Worker(self.outbox, self.deliverer, retention=60)
        next_wait = self.worker._next_wait

        def note_and_wait() -> float:
            self.attended.release()
            return next_wait()

        self.worker._next_wait = note_and_wait

    def start(self) -> None:
        """
        Start the worker and wait until it has nothing to do.
        """
        self.worker.start()
        assert self.attended.acquire(timeout=PATIENCE)

    @property
    def running(self) -> bool:
        """
        Whether the worker's thread is alive.
        """
        return self.worker._thread.is_alive()


@pytest.fixture
def stage(monkeypatch) -> Iterator[Callable[..., Stage]]:
    monkeypatch.setattr(worker_module, "POLL", NEVER)
    stages: list[Stage] = []

    def make(*replies: Any, **options: Any) -> Stage:
        stages.append(Stage(*replies, **options))
        return stages[-1]

    yield make
    for made in stages:
        if made.running:
            made.worker.stop(PATIENCE)
        made.deliverer.close()


def sent(it: Stage) -> threading.Event:
    """
    Return an event that is set when the API takes a point.
    """
    event = threading.Event()

    def reply(body: dict[str, Any]) -> Any:
        event.set()
        return OK(body)

    it.api.replies[-1] = reply
    return event


def test_thread(stage) -> None:
    """
    Delivery runs in a daemon thread with a telling name, once it is started.
    """
    it = stage(points=0)
    thread = it.worker._thread

    assert (thread.name, thread.daemon, thread.is_alive()) == ("remotion-usage-delivery", True, False)


def test_delivers_what_is_there(stage) -> None:
    """
    Points that waited in the store are delivered at the start.
    """
    it = stage(points=3)
    it.start()

    assert it.states() == {"registered": 3}


def test_wakes_for_a_new_point(stage) -> None:
    """
    A point that arrives is delivered at once.
    """
    it = stage(points=0)
    it.start()
    delivered = sent(it)
    it.add("new")
    it.worker.wake()

    assert delivered.wait(PATIENCE)


def test_wakes_when_a_point_is_due(stage) -> None:
    """
    A point that was put off is delivered when its time comes.
    """
    it = stage(answer(500, b""), OK, points=1, uniform=lambda *_: 0.01)
    delivered = sent(it)
    it.start()

    assert delivered.wait(PATIENCE)


def test_polls(stage, monkeypatch) -> None:
    """
    Points that another process has left are found without a call.
    """
    monkeypatch.setattr(worker_module, "POLL", 0.01)
    it = stage(points=0)
    it.start()
    delivered = sent(it)
    it.add("foreign")

    assert delivered.wait(PATIENCE)


@pytest.mark.parametrize("draw", [0.8, 1.2])
def test_poll_interval(stage, monkeypatch, draw: float) -> None:
    """
    Processes look about every 5 seconds, each at its own moments.
    """
    monkeypatch.setattr(worker_module, "POLL", 5.0)
    monkeypatch.setattr(worker_module.random, "uniform", lambda *_: draw)

    assert stage(points=0).worker._next_wait() == 5 * draw


def test_wait_is_never_nothing(stage) -> None:
    """
    A point that is due but cannot be had makes no busy loop.
    """
    assert stage(points=1).worker._next_wait() == 0.05


def test_wait_during_a_pause(stage) -> None:
    """
    While delivery is paused the next look is at its probe.
    """
    it = stage(answer(429, b"", retry_after="500"))
    it.deliver()

    assert math.isclose(it.worker._next_wait(), 500, abs_tol=PATIENCE)


def test_new_point_does_not_end_a_pause(stage) -> None:
    """
    While delivery is paused an arriving point does not wake the worker.
    """
    it = stage(answer(401, b""))
    it.start()
    it.add("new")
    it.worker.wake()
    it.worker.stop(PATIENCE)

    assert it.api.keys == ["0"]


def test_stops_when_idle(stage) -> None:
    """
    An idle worker stops at once.
    """
    it = stage(points=0)
    it.start()
    began = time.monotonic()
    it.worker.stop(NEVER)

    assert (it.running, time.monotonic() - began < PATIENCE) == (False, True)


def test_stops_when_paused(stage) -> None:
    """
    A pause does not delay the stop.
    """
    it = stage(answer(429, b"", retry_after="500"))
    it.start()
    it.worker.stop(NEVER)

    assert (it.running, it.get().attempts) == (False, 0)


def test_stop_delivers_what_is_due(stage) -> None:
    """
    What is due when the stop is asked for still goes out.
    """
    it = stage(points=0)
    it.start()
    it.add(*map(str, range(20)))
    it.worker.stop(NEVER)

    assert it.states() == {"registered": 20}


def test_stops_while_sending(stage) -> None:
    """
    A stop lets the points under way end.
    """
    it = stage(points=3)
    entered, leave = threading.Event(), threading.Event()

    def reply(body: dict[str, Any]) -> Any:
        entered.set()
        assert leave.wait(PATIENCE)
        return OK(body)

    it.api.replies = [reply]
    it.worker.start()
    assert entered.wait(PATIENCE)
    stopping = threading.Thread(target=it.worker.stop, args=(NEVER,))
    stopping.start()
    leave.set()
    stopping.join(PATIENCE)

    assert (it.running, it.states()) == (False, {"registered": 3})


def test_stops_when_the_api_hangs(stage) -> None:
    """
    A hanging API ends the worker within the time to stop, with the unsent points back in the store.
    """
    it = stage(points=3)
    entered, leave = threading.Event(), threading.Event()

    def reply(_: dict[str, Any]) -> Any:
        entered.set()
        leave.wait(PATIENCE)
        return OK({})

    it.api.replies = [reply]
    it.worker.start()
    assert entered.wait(PATIENCE)
    it.worker.stop(1.0)
    stopped = not it.running
    leave.set()

    assert stopped
    assert (it.outbox.counts().claimed, it.states()) == (1, {"pending": 3})


def test_prunes(stage) -> None:
    """
    Points that were registered longer ago than the retention are deleted at the start.
    """
    it = stage(points=2)
    it.deliver()
    it.outbox._clock = lambda: time.time() + 61
    it.start()

    assert it.states() == {}


def test_prunes_once_an_hour(stage, monkeypatch) -> None:
    """
    Pruning is not repeated with every look.
    """
    it = stage(points=0)
    pruned: list[float] = []
    monkeypatch.setattr(it.outbox, "prune", pruned.append)
    for now in (1.0, 3600.0, 3601.0, 7201.0):
        monkeypatch.setattr(worker_module.time, "monotonic", lambda now=now: now)
        it.worker._prune()

    assert pruned == [60, 60, 60]


@pytest.fixture
def claims(monkeypatch) -> threading.Semaphore:
    """
    Counts the tries to claim points.
    """
    tries = threading.Semaphore(0)
    claim = RefusingOutbox.claim

    def note_and_claim(self: RefusingOutbox, limit: int, **options: Any) -> Any:
        tries.release()
        return claim(self, limit, **options)

    monkeypatch.setattr(RefusingOutbox, "claim", note_and_claim)
    return tries


def wait_for(tries: threading.Semaphore, count: int) -> None:
    assert all(tries.acquire(timeout=PATIENCE) for _ in range(count))


def test_survives_a_refusing_outbox(stage, claims, monkeypatch, caplog) -> None:
    """
    While the store refuses, the worker says so once and goes on when it takes again.
    """
    monkeypatch.setattr(worker_module, "POLL", 0.001)
    it = stage(points=1)
    delivered = sent(it)
    it.outbox.refuses = frozenset({"claim"})
    it.worker.start()
    wait_for(claims, 5)
    it.outbox.refuses = frozenset()

    assert delivered.wait(PATIENCE)
    assert [record.action for record in caplog.records] == ["outbox_refused"]
    assert caplog.records[0].message.endswith("delivery waits: the disk is full")


def test_survives_a_crash(stage, monkeypatch, caplog) -> None:
    """
    An unexpected exception is logged once, with its traceback, and does not end the worker.
    """
    monkeypatch.setattr(worker_module, "POLL", 0.001)
    it = stage(points=1)
    delivered = sent(it)
    tries = threading.Semaphore(0)

    def crash(**_: Any) -> int:
        tries.release()
        return 1 // 0

    with monkeypatch.context() as patch:
        patch.setattr(it.deliverer, "deliver", crash)
        it.worker.start()
        wait_for(tries, 5)

    assert delivered.wait(PATIENCE)
    assert [(record.action, record.exc_info[0]) for record in caplog.records] == [
        ("delivery_crashed", ZeroDivisionError)
    ]


def test_second_trouble_is_said_again(stage, caplog) -> None:
    """
    Trouble that comes back after it was over is said again.
    """
    it = stage(points=0)
    for refuses in ("claim", "", "claim", "claim"):
        it.outbox.refuses = frozenset({refuses})
        it.worker._attend()

    assert [record.action for record in caplog.records] == ["outbox_refused"] * 2

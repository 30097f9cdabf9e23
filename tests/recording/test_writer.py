"""
The writer thread: group commit, a store that refuses or hangs, and the log as last resort.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from remotion_licensing_integrations.points.logline import LOG_MARK
from remotion_licensing_integrations.points.point import UsagePoint
from remotion_licensing_integrations.recording import writer as writer_module
from remotion_licensing_integrations.recording.writer import Writer, store_or_log
from tests._outboxes import PATIENCE, SlowOutbox, new_point


class Notices:
    """
    Collects what the writer says of each point.
    """

    def __init__(self) -> None:
        self.committed: list[bool] = []
        self._told = threading.Semaphore(0)

    def __call__(self, committed: bool) -> None:  # noqa: D102, FBT001 - the writer's callback
        self.committed.append(committed)
        self._told.release()

    def wait(self, count: int) -> list[bool]:
        """
        Return all notices once there are *count* more.
        """
        assert all(self._told.acquire(timeout=PATIENCE) for _ in range(count))
        return self.committed


@pytest.fixture
def outbox() -> SlowOutbox:
    return SlowOutbox()


@pytest.fixture
def told() -> Notices:
    return Notices()


@pytest.fixture
def retry_soon(monkeypatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_AFTER", 0.01)


@pytest.fixture
def retry_never(monkeypatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_AFTER", 1_000.0)


@pytest.fixture
def start(outbox) -> Iterator[Callable[..., Writer]]:
    writers: list[Writer] = []

    def start(**options: object) -> Writer:
        writers.append(Writer(outbox, **options))
        writers[-1].start()
        return writers[-1]

    yield start
    outbox.gate.set()
    outbox.refuses = False
    for writer in writers:
        writer.stop(PATIENCE)


def logged(caplog: pytest.LogCaptureFixture) -> list[UsagePoint]:
    """
    Read the points back from the log as `remotion-licensing import` does.
    """
    found = [re.search(re.escape(LOG_MARK) + r" (\{.*\})", record.getMessage()) for record in caplog.records]
    return [UsagePoint.from_json(json.loads(match[1])) for match in found if match]


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.action for record in caplog.records]


def test_no_thread_before_start(outbox) -> None:
    """
    A writer that is not started has no thread running; its thread is a daemon with a telling name.
    """
    thread = Writer(outbox)._thread

    assert (thread.is_alive(), thread.daemon, thread.name) == (False, True, "remotion-usage-writer")


def test_notice_comes_after_the_commit(start, outbox, told) -> None:
    """
    A point is reported as committed once it is in the store.
    """
    start().submit(new_point(), lambda committed: told(committed and outbox.keys == ["0"]))

    assert told.wait(1) == [True]


def test_commit_wakes_delivery(start, told) -> None:
    """
    Each commit is passed on, before the notices.
    """
    committed: list[str] = []
    writer = start(on_commit=lambda: committed.append("commit"))
    writer.submit(new_point(), told)
    told.wait(1)

    assert committed == ["commit"]


def test_group_commit(start, outbox, told) -> None:
    """
    Points that arrive during a commit share the next one, 256 at the most.
    """
    outbox.gate.clear()
    writer = start()
    writer.submit(new_point("first"), told)
    outbox.wait_entered()
    for number in range(600):
        writer.submit(new_point(str(number)), told)
    outbox.gate.set()

    assert told.wait(601) == [True] * 601
    assert outbox.batches == [1, 256, 256, 88]


def test_waiting(start, outbox, told) -> None:
    """
    Points count as waiting until they are committed, the ones in the running transaction too.
    """
    outbox.gate.clear()
    writer = start()
    writer.submit(new_point("first"), told)
    outbox.wait_entered()
    writer.submit(new_point("second"), told)

    assert writer.waiting == 2
    outbox.gate.set()
    told.wait(2)
    assert writer.waiting == 0


@pytest.mark.usefixtures("retry_soon")
def test_refused_points_are_stored_later(start, outbox, told, caplog) -> None:
    """
    A refused point is kept, tried again without another one's help, and the log tells both ends of the trouble.
    """
    outbox.refuses = True
    writer = start()
    writer.submit(new_point(), told)
    assert told.wait(1) == [False]
    outbox.wait_entered(3)
    outbox.refuses = False
    outbox.wait_stored()
    writer.stop(PATIENCE)

    assert outbox.keys == ["0"]
    assert actions(caplog) == ["outbox_refused", "outbox_recovered"]


@pytest.mark.usefixtures("retry_soon")
def test_order_is_kept(start, outbox, told) -> None:
    """
    Refused points are stored before those that came after them.
    """
    outbox.refuses = True
    writer = start()
    writer.submit(new_point("first"), told)
    told.wait(1)
    outbox.refuses = False
    writer.submit(new_point("second"), told)
    outbox.wait_stored(2)

    assert outbox.keys == ["first", "second"]


@pytest.mark.usefixtures("retry_never")
def test_refusing_store_is_left_alone(start, outbox, told) -> None:
    """
    Between two tries of a refusing store, points are kept without asking it for each.
    """
    outbox.refuses = True
    writer = start()
    for number in range(50):
        writer.submit(new_point(str(number)), told)
        told.wait(1)

    assert (told.committed, outbox.batches, writer.waiting) == ([False] * 50, [1], 50)


def test_any_exception_of_the_store(start, outbox, told, monkeypatch) -> None:
    """
    A store that raises something else than its own error does not end the writer.
    """
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "add", lambda _: 1 / 0)
        writer = start()
        writer.submit(new_point(), told)
        assert told.wait(1) == [False]
    writer.stop(PATIENCE)

    assert outbox.keys == ["0"]


@pytest.mark.usefixtures("retry_never")
def test_overflow_goes_to_the_log(start, outbox, told, monkeypatch, caplog) -> None:
    """
    What memory has no room for is logged, each point as a line that reads back as the same point.
    """
    monkeypatch.setattr(writer_module, "MAX_BACKLOG", 3)
    points = [new_point(str(number)) for number in range(5)]
    outbox.refuses = True
    writer = start()
    for point in points:
        writer.submit(point, told)
        told.wait(1)

    assert (logged(caplog), writer.logged, writer.waiting) == (points[3:], 2, 3)
    assert {record.levelno for record in caplog.records if record.action == "point_logged"} == {logging.CRITICAL}


@pytest.mark.usefixtures("retry_never")
def test_overflow_within_one_batch(start, outbox, told, monkeypatch, caplog) -> None:
    """
    A single batch that is larger than the room left overflows too.
    """
    monkeypatch.setattr(writer_module, "MAX_BACKLOG", 3)
    outbox.gate.clear()
    outbox.refuses = True
    writer = start()
    for number in range(10):
        writer.submit(new_point(str(number)), told)
    outbox.gate.set()
    told.wait(10)

    assert (len(logged(caplog)), writer.waiting) == (7, 3)


def test_stop_commits_what_waits(start, outbox, told) -> None:
    """
    A stop commits everything that was handed over before.
    """
    outbox.gate.clear()
    writer = start()
    for number in range(300):
        writer.submit(new_point(str(number)), told)
    outbox.gate.set()
    writer.stop(PATIENCE)

    assert (told.committed, len(outbox.keys), writer._thread.is_alive()) == ([True] * 300, 300, False)


@pytest.mark.usefixtures("retry_never")
def test_stop_tries_a_refusing_store_once_more(start, outbox, told, caplog) -> None:
    """
    A stop does not wait for the next try to be due.
    """
    outbox.refuses = True
    writer = start()
    writer.submit(new_point(), told)
    told.wait(1)
    outbox.refuses = False
    writer.stop(PATIENCE)

    assert (outbox.keys, logged(caplog)) == (["0"], [])


@pytest.mark.usefixtures("retry_soon")
def test_stop_goes_on_trying(start, outbox, told) -> None:
    """
    A store that recovers while the writer stops gets its points.
    """
    outbox.refuses = True
    writer = start()
    writer.submit(new_point(), told)
    told.wait(1)
    stopping = threading.Thread(target=writer.stop, args=(PATIENCE,))
    stopping.start()
    outbox.wait_entered(5)
    outbox.refuses = False
    stopping.join(PATIENCE)

    assert outbox.keys == ["0"]


@pytest.mark.usefixtures("retry_soon")
def test_stop_logs_what_the_store_refuses(start, outbox, told, caplog) -> None:
    """
    What cannot be committed in time is in the log when the writer ends.
    """
    point = new_point()
    outbox.refuses = True
    writer = start()
    writer.submit(point, told)
    writer.stop(0.1)
    writer._thread.join(PATIENCE)

    assert set(logged(caplog)) == {point}


def test_stop_with_a_store_that_hangs(start, outbox, told, caplog) -> None:
    """
    A store that hangs beyond the stop leaves every point in the log, and gets them all the same if it wakes up.
    """
    points = [new_point(str(number)) for number in range(3)]
    outbox.gate.clear()
    writer = start()
    writer.submit(points[0], told)
    outbox.wait_entered()
    for point in points[1:]:
        writer.submit(point, told)
    began = time.monotonic()
    writer.stop(0.05)

    assert time.monotonic() - began < PATIENCE / 2
    assert (logged(caplog), writer.logged) == (points, 3)
    outbox.gate.set()
    writer._thread.join(PATIENCE)
    assert (outbox.keys, writer._thread.is_alive()) == (["0", "1", "2"], False)


def test_stopped_writer_takes_nothing(start, outbox, told) -> None:
    """
    A point that comes after the stop is not taken, so that its owner can hand it to another writer.
    """
    writer = start()
    assert writer.submit(new_point("before"), told)
    writer.stop(PATIENCE)

    assert not writer.submit(new_point("after"), told)
    assert (outbox.keys, writer.waiting) == (["before"], 0)


def test_store_or_log(outbox) -> None:
    """
    Without a thread a point is committed by the caller.
    """
    assert store_or_log(outbox, new_point())
    assert outbox.keys == ["0"]


def test_store_or_log_refused(outbox, caplog) -> None:
    """
    Without a thread a refused point is one line in the log.
    """
    outbox.refuses = True

    assert not store_or_log(outbox, new_point())
    assert [point.idempotency_key for point in logged(caplog)] == ["0"]


def test_hanging_store_bounds_memory(start, outbox, told, monkeypatch, caplog) -> None:
    """
    While the store does not answer, points beyond the bound become log lines at once.
    """
    monkeypatch.setattr(writer_module, "MAX_BACKLOG", 2)
    outbox.gate.clear()
    writer = start()
    writer.submit(new_point("0"), told)
    assert outbox.entered.acquire(timeout=PATIENCE)
    for key in ("1", "2", "3"):
        assert writer.submit(new_point(key), told)

    assert told.committed == [False]
    assert [point.idempotency_key for point in logged(caplog)] == ["3"]


def test_thread_survives_a_broken_log(start, outbox, told, monkeypatch) -> None:
    """
    An error outside the store, in a log handler for instance, does not end the thread.
    """

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(writer_module.logger, "error", broken)
    monkeypatch.setattr(writer_module, "RETRY_AFTER", 0.01)
    outbox.refuses = True
    writer = start()
    writer.submit(new_point("0"), told)

    assert told.wait(1) == [False]
    outbox.refuses = False
    writer.submit(new_point("1"), told)
    assert all(outbox.stored.acquire(timeout=PATIENCE) for _ in range(2))

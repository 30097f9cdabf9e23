"""
The writer thread: group commit, a store that refuses or hangs, and the log as last resort.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.points.logline import LOG_MARK
from remotion_licensing_integrations.points.point import UsagePoint
from remotion_licensing_integrations.recording import writer as writer_module
from remotion_licensing_integrations.recording.entries import Entry, Forget, store_now
from remotion_licensing_integrations.recording.writer import Writer
from tests._outboxes import PATIENCE, SlowOutbox, new_point


def submit(writer: Writer, *entries: Entry | str) -> list[Future[bool]]:
    """
    Hand over entries, or points with these keys.
    """
    return [writer.submit(new_point(entry) if isinstance(entry, str) else entry) for entry in entries]


def results(futures: Iterable[Future[bool]]) -> list[bool]:
    return [future.result(PATIENCE) for future in futures]


@pytest.fixture
def outbox() -> SlowOutbox:
    return SlowOutbox()


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


def test_result_comes_after_the_commit(start, outbox) -> None:
    """
    A point is reported as committed once it is in the store, and its commit is passed on.
    """
    seen: list[object] = []
    [future] = submit(start(on_commit=lambda: seen.append("commit")), "0")
    future.add_done_callback(lambda done: seen.extend([done.result(), outbox.keys]))
    results([future])

    assert seen == ["commit", True, ["0"]]


def test_group_commit(start, outbox) -> None:
    """
    Points that arrive during a commit share the next one, 256 at the most; until then they count as waiting.
    """
    outbox.gate.clear()
    writer = start()
    futures = submit(writer, "first")
    outbox.wait_entered()
    futures += submit(writer, *map(str, range(600)))
    waiting = writer.waiting
    outbox.gate.set()

    assert (results(futures), waiting, writer.waiting) == ([True] * 601, 601, 0)
    assert outbox.batches == [1, 256, 256, 88]


@pytest.mark.usefixtures("retry_soon")
def test_refused_points_are_stored_later(start, outbox, caplog) -> None:
    """
    A refused point is kept, tried again without another one's help, and the log tells both ends of the trouble.
    """
    outbox.refuses = True
    writer = start()
    assert results(submit(writer, "0")) == [False]
    outbox.wait_entered(3)
    outbox.refuses = False
    outbox.wait_stored()
    writer.stop(PATIENCE)

    assert outbox.keys == ["0"]
    assert actions(caplog) == ["outbox_refused", "outbox_recovered"]


@pytest.mark.usefixtures("retry_soon")
def test_order_is_kept(start, outbox) -> None:
    """
    Refused points are stored before those that came after them.
    """
    outbox.refuses = True
    writer = start()
    results(submit(writer, "first"))
    outbox.refuses = False
    submit(writer, "second")
    outbox.wait_stored(2)

    assert outbox.keys == ["first", "second"]


@pytest.mark.usefixtures("retry_never")
def test_refusing_store_is_left_alone(start, outbox) -> None:
    """
    Between two tries of a refusing store, points are kept without asking it for each.
    """
    outbox.refuses = True
    writer = start()
    committed = [results(submit(writer, str(number))) for number in range(50)]

    assert (committed, outbox.batches, writer.waiting) == ([[False]] * 50, [1], 50)


def test_any_exception_of_the_store(start, outbox, monkeypatch) -> None:
    """
    A store that raises something else than its own error does not end the writer.
    """
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "add", lambda _: 1 / 0)
        writer = start()
        assert results(submit(writer, "0")) == [False]
    writer.stop(PATIENCE)

    assert outbox.keys == ["0"]


@pytest.mark.usefixtures("retry_never")
def test_overflow_goes_to_the_log(start, outbox, monkeypatch, caplog) -> None:
    """
    What memory has no room for is logged, each point as a line that reads back as the same point.
    """
    monkeypatch.setattr(writer_module, "MAX_BACKLOG", 3)
    points = [new_point(str(number)) for number in range(5)]
    outbox.refuses = True
    writer = start()
    for point in points:
        results(submit(writer, point))

    assert (logged(caplog), writer.logged, writer.waiting) == (points[3:], 2, 3)
    assert {record.levelno for record in caplog.records if record.action == "point_logged"} == {logging.CRITICAL}


@pytest.mark.usefixtures("retry_never")
def test_overflow_within_one_batch(start, outbox, monkeypatch, caplog) -> None:
    """
    A single batch that is larger than the room left overflows too.
    """
    monkeypatch.setattr(writer_module, "MAX_BACKLOG", 3)
    outbox.gate.clear()
    outbox.refuses = True
    writer = start()
    futures = submit(writer, *map(str, range(10)))
    outbox.gate.set()
    results(futures)

    assert (len(logged(caplog)), writer.waiting) == (7, 3)


def test_stop_commits_what_waits(start, outbox) -> None:
    """
    A stop commits everything that was handed over before.
    """
    outbox.gate.clear()
    writer = start()
    futures = submit(writer, *map(str, range(300)))
    outbox.gate.set()
    writer.stop(PATIENCE)

    assert (results(futures), len(outbox.keys), writer._thread.is_alive()) == ([True] * 300, 300, False)


@pytest.mark.usefixtures("retry_never")
def test_stop_tries_a_refusing_store_once_more(start, outbox, caplog) -> None:
    """
    A stop does not wait for the next try to be due.
    """
    outbox.refuses = True
    writer = start()
    results(submit(writer, "0"))
    outbox.refuses = False
    writer.stop(PATIENCE)

    assert (outbox.keys, logged(caplog)) == (["0"], [])


@pytest.mark.usefixtures("retry_soon")
def test_stop_goes_on_trying(start, outbox) -> None:
    """
    A store that recovers while the writer stops gets its points.
    """
    outbox.refuses = True
    writer = start()
    results(submit(writer, "0"))
    stopping = threading.Thread(target=writer.stop, args=(PATIENCE,))
    stopping.start()
    outbox.wait_entered(5)
    outbox.refuses = False
    stopping.join(PATIENCE)

    assert outbox.keys == ["0"]


@pytest.mark.usefixtures("retry_soon")
def test_stop_logs_what_the_store_refuses(start, outbox, caplog) -> None:
    """
    What cannot be committed in time is in the log when the writer ends.
    """
    point = new_point()
    outbox.refuses = True
    writer = start()
    submit(writer, point)
    writer.stop(0.1)
    writer._thread.join(PATIENCE)

    assert set(logged(caplog)) == {point}


def test_stop_with_a_store_that_hangs(start, outbox, caplog) -> None:
    """
    A store that hangs beyond the stop leaves every point in the log, and gets them all the same if it wakes up.
    """
    points = [new_point(str(number)) for number in range(3)]
    outbox.gate.clear()
    writer = start()
    submit(writer, points[0])
    outbox.wait_entered()
    submit(writer, *points[1:])
    began = time.monotonic()
    writer.stop(0.05)

    assert time.monotonic() - began < PATIENCE / 2
    assert (logged(caplog), writer.logged) == (points, 3)
    outbox.gate.set()
    writer._thread.join(PATIENCE)
    assert (outbox.keys, writer._thread.is_alive()) == (["0", "1", "2"], False)


def test_stopped_writer_takes_nothing(start, outbox) -> None:
    """
    A point that comes after the stop is not taken, so that its owner can hand it to another writer.
    """
    writer = start()
    submit(writer, "before")
    writer.stop(PATIENCE)

    assert writer.submit(new_point("after")) is None
    assert (outbox.keys, writer.waiting) == (["before"], 0)


def test_store_now(outbox) -> None:
    """
    Without a thread a point is committed by the caller.
    """
    assert store_now(outbox, new_point())
    assert outbox.keys == ["0"]


def test_store_now_refused(outbox, caplog) -> None:
    """
    Without a thread a refused point is one line in the log.
    """
    outbox.refuses = True

    assert not store_now(outbox, new_point())
    assert [point.idempotency_key for point in logged(caplog)] == ["0"]


def test_hanging_store_bounds_memory(start, outbox, monkeypatch, caplog) -> None:
    """
    While the store does not answer, points beyond the bound become log lines at once.
    """
    monkeypatch.setattr(writer_module, "MAX_BACKLOG", 2)
    outbox.gate.clear()
    writer = start()
    submit(writer, "0")
    outbox.wait_entered()
    futures = submit(writer, "1", "2", "3")

    assert [future.done() for future in futures] == [False, False, True]
    assert not futures[2].result()
    assert [point.idempotency_key for point in logged(caplog)] == ["3"]


def test_thread_survives_a_broken_log(start, outbox, monkeypatch) -> None:
    """
    An error outside the store, in a log handler for instance, does not end the thread.
    """

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(writer_module.logger, "error", broken)
    monkeypatch.setattr(writer_module, "RETRY_AFTER", 0.01)
    outbox.refuses = True
    writer = start()

    assert results(submit(writer, "0")) == [False]
    outbox.refuses = False
    submit(writer, "1")
    outbox.wait_stored(2)


def deferred(key: str = "0") -> UsagePoint:
    return replace(new_point(key), succeeded=None)


def test_forgetting_keeps_its_place(start, outbox) -> None:
    """
    A deferral is forgotten after the points that came before and before those that come later.
    """
    writer = start()
    results(submit(writer, deferred(), Forget("0"), deferred("1"), Forget("1"), deferred("1"), "2"))

    assert outbox.keys == ["1", "2"]


def test_only_deferred_points_are_forgotten(start, outbox) -> None:
    """
    A point that has its outcome stays, whatever is forgotten.
    """
    assert results(submit(start(), "0", Forget("0"), Forget("unknown"))) == [True] * 3
    assert outbox.keys == ["0"]


@pytest.mark.usefixtures("retry_soon")
def test_refused_forgetting(start, outbox, monkeypatch, caplog) -> None:
    """
    A deferral that the store does not forget delays no point, and is tried again.
    """
    forgotten = threading.Event()
    discard = outbox.discard

    def discard_late(*arguments: Any) -> int:
        if not forgotten.is_set():
            msg = "no permission"
            raise OutboxError(msg)
        return discard(*arguments)

    monkeypatch.setattr(outbox, "discard", discard_late)
    writer = start()

    assert results(submit(writer, deferred(), Forget("0"), "1")) == [True, False, True]
    assert results(submit(writer, "2")) == [True]
    forgotten.set()
    writer.stop(PATIENCE)
    assert outbox.keys == ["1", "2"]
    assert actions(caplog) == ["outbox_refused", "outbox_recovered"]


@pytest.mark.usefixtures("retry_never")
def test_forgetting_that_is_given_up(outbox, monkeypatch, caplog) -> None:
    """
    A deferral that the store never forgets is named by the log, and is no lost point.
    """
    monkeypatch.setattr(outbox, "discard", lambda *_: 1 / 0)
    writer = Writer(outbox)
    submit(writer, Forget("0"))
    writer.start()
    writer.stop(PATIENCE)

    assert not store_now(outbox, Forget("1"))
    assert (actions(caplog), writer.logged) == (["outbox_refused"] * 3, 0)

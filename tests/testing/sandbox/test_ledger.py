"""
The ledger: what is counted, once, and what its file keeps.
"""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.testing.sandbox.ledger import Ledger
from remotion_licensing_integrations.testing.sandbox.rules import PointRequest


def request(**changes):
    values = {
        "project": "rm_pub_…(0123456789)",
        "event": "cloud-render",
        "host": "https://myapp.com",
        "succeeded": True,
        "is_still": False,
        "is_production": True,
        "idempotency_key": None,
    }
    return PointRequest(**{**values, **changes})


def test_a_new_key_is_a_new_point():
    """
    Two requests with different idempotency keys are two points.
    """
    ledger = Ledger()

    ledger.register(request(idempotency_key="a"))
    ledger.register(request(idempotency_key="b"))

    assert [point.idempotency_key for point in ledger.points()] == ["a", "b"]


def test_no_key_is_a_new_point_each_time():
    """
    Requests without an idempotency key are never taken for repeats.
    """
    ledger = Ledger()

    ledger.register(request())
    ledger.register(request())

    assert len(ledger.points()) == 2


def test_a_repeated_key_is_no_new_point():
    """
    A repeated idempotency key returns the first point and counts the repeat, even when the rest differs.
    """
    ledger = Ledger()

    ledger.register(request(idempotency_key="a"))
    again = ledger.register(request(idempotency_key="a", succeeded=False))

    assert (again.classification, again.repeats, len(ledger.points())) == ("billable", 1, 1)


def test_keys_are_scoped_to_the_project():
    """
    The same idempotency key in two projects is two points.
    """
    ledger = Ledger()

    ledger.register(request(idempotency_key="a"))
    ledger.register(request(idempotency_key="a", project="free-license"))

    assert len(ledger.points()) == 2


def test_a_race_counts_once():
    """
    The same key from many threads at once is one point.
    """
    ledger = Ledger()
    start = threading.Barrier(8)

    def register():
        start.wait()
        ledger.register(request(idempotency_key="a"))

    threads = [threading.Thread(target=register) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [point.repeats for point in ledger.points()] == [7]


def test_counts_name_every_event_and_classification():
    """
    Counts hold all events and classifications, those of zero included.
    """
    ledger = Ledger()

    ledger.register(request())
    ledger.register(request(event="web-render", succeeded=False))

    assert ledger.counts() == {
        "web-render": {"billable": 0, "development": 0, "failed": 1},
        "cloud-render": {"billable": 1, "development": 0, "failed": 0},
        "webcodec-conversion": {"billable": 0, "development": 0, "failed": 0},
    }


def test_lost_points_are_not_counted(tmp_path):
    """
    A point that is lost is counted no longer, also after a restart, and its key makes a new one.
    """
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for key in ("a", "b", "a"):
        ledger.register(request(idempotency_key=key))
    lost = [ledger.lose("a"), ledger.lose("a"), ledger.lose("unknown")]
    ledger.close()
    again = Ledger(tmp_path / "ledger.jsonl")
    again.register(request(idempotency_key="a"))
    again.register(request(idempotency_key="b"))
    again.close()

    assert lost == [1, 0, 0]
    assert [point.idempotency_key for point in ledger.points()] == ["b"]
    assert [(point.idempotency_key, point.repeats) for point in again.points()] == [("b", 1), ("a", 0)]


def test_counts_since_a_moment():
    """
    Counts can leave out what came before a moment.
    """
    clock = iter([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)])
    ledger = Ledger(now=lambda: next(clock))

    ledger.register(request())
    ledger.register(request())

    assert ledger.counts(since=datetime(2026, 1, 2, tzinfo=UTC))["cloud-render"]["billable"] == 1


def test_wait_returns_when_the_condition_holds():
    """
    A waiting thread sees a point as soon as it is counted.
    """
    ledger = Ledger()
    other = threading.Thread(target=ledger.register, args=[request()])
    other.start()
    seen = ledger.wait(lambda: len(ledger.points()) == 1, timeout=5)
    other.join()

    assert seen


def test_clear_forgets_points_requests_and_keys():
    """
    After clearing, nothing is counted and an old key is new again.
    """
    ledger = Ledger()
    ledger.note_request("a")
    ledger.register(request(idempotency_key="a"))

    ledger.clear()

    assert (ledger.points(), ledger.requests, ledger.register(request(idempotency_key="a")).repeats) == ([], 0, 0)


def test_a_file_survives_a_restart(tmp_path):
    """
    A ledger opened on the file of another holds the same points, repeats included.
    """
    first = Ledger(tmp_path / "ledger.jsonl")
    first.register(request(idempotency_key="a", host="http://\ud800"))
    first.register(request(idempotency_key="a", host="http://\ud800"))
    first.close()

    second = Ledger(tmp_path / "ledger.jsonl")
    second.close()

    assert first.points() == second.points()


def test_a_key_is_still_known_after_a_restart(tmp_path):
    """
    A repeat after the restart is not counted twice.
    """
    first = Ledger(tmp_path / "ledger.jsonl")
    first.register(request(idempotency_key="a"))
    first.close()

    second = Ledger(tmp_path / "ledger.jsonl")
    second.register(request(idempotency_key="a"))
    second.close()

    assert [point.repeats for point in second.points()] == [1]


def test_a_cleared_file_stays_cleared(tmp_path):
    """
    Points that were cleared do not return after a restart.
    """
    first = Ledger(tmp_path / "ledger.jsonl")
    first.register(request(idempotency_key="a"))
    first.clear()
    first.register(request(idempotency_key="b"))
    first.close()

    second = Ledger(tmp_path / "ledger.jsonl")
    second.close()

    assert [(point.number, point.idempotency_key) for point in second.points()] == [(1, "b")]


@pytest.mark.parametrize("rest", [b"{", b'{"point": {"numb', b'{"repeat": 1}', b'{"cle'])
def test_a_truncated_last_line_is_dropped(tmp_path, rest):
    """
    A half-written last line is dropped, and the next line starts on a line of its own.
    """
    path = tmp_path / "ledger.jsonl"
    first = Ledger(path)
    first.register(request(idempotency_key="a"))
    first.close()
    path.write_bytes(path.read_bytes() + rest)

    second = Ledger(path)
    second.register(request(idempotency_key="b"))
    second.close()
    third = Ledger(path)
    third.close()

    assert [(point.idempotency_key, point.repeats) for point in third.points()] == [("a", 0), ("b", 0)]


@pytest.mark.parametrize("content", [b"notes", b"one\ntwo\n", b'{"point": 1}\n', b'{"repeat": 1}\n', b"[]\n", b"{}\n"])
def test_a_foreign_file_is_refused(tmp_path, content):
    """
    A file that is not a ledger is refused, by name, and left as it is.
    """
    path = tmp_path / "notes.txt"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"notes\.txt"):
        Ledger(path)

    assert content == path.read_bytes()


def test_points_carry_the_time_of_their_arrival():
    """
    `received_at` is the ledger's clock, not the client's.
    """
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=1)

    assert now == Ledger(now=lambda: now).register(request()).received_at

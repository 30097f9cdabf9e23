"""
Delivery of many points: pauses, concurrency, time limits, and a store that refuses.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remotion_licensing_integrations.api.protocol import MAX_RETRY_AFTER
from remotion_licensing_integrations.delivery.pace import FIRST_PROBE, LAST_PROBE
from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import State
from tests._delivery import DOWN, NO_ANSWER, OK, PATIENCE, REFUSAL, Rig, answer

DAY = 86_400.0  # seconds

BAD_KEY = answer(401, b'{"error":"Invalid API key"}')
KEY_TROUBLE = [BAD_KEY, answer(402, b""), answer(403, b"")]
KEY_TROUBLE += [answer(status, b'{"success":false,"error":"Invalid API key"}') for status in (200, 400, 500)]
ENDPOINT_TROUBLE = [answer(status, b"") for status in (404, 405, 410, 301, 302, 303, 307, 308)]
THROTTLING = [answer(429, b"", retry_after="5"), answer(429, b""), answer(503, b"", retry_after="5")]
QUEUE_TROUBLE = [*KEY_TROUBLE, *ENDPOINT_TROUBLE, *THROTTLING]


@pytest.mark.parametrize("reply", QUEUE_TROUBLE, ids=lambda reply: repr(reply({})))
def test_trouble_of_all_points(rig, reply: Any, caplog) -> None:
    """
    Trouble of the key, the address or the rate pauses delivery: every point is kept, due and without an attempt.
    """
    it = rig(reply, points=50, concurrency=8)

    assert it.deliver() == 0
    assert it.states() == {"pending": 50}
    assert {(stored.attempts, stored.due.timestamp()) for stored in it.outbox.list()} == {(0, it.clock.now)}
    assert it.deliverer.pause_seconds > 0
    assert [record.action for record in caplog.records] == ["delivery_paused"]


@pytest.mark.parametrize("reply", QUEUE_TROUBLE, ids=lambda reply: repr(reply({})))
def test_delivery_resumes_by_itself(rig, reply: Any, caplog) -> None:
    """
    When the trouble is over, the next probe goes through and all points with it.
    """
    it = rig(reply, points=30)
    it.run(600)
    it.api.replies = [OK]
    it.run(LAST_PROBE * 1.2)

    assert it.states() == {"registered": 30}
    assert (it.deliverer.pause_reason, caplog.records[-1].action) == (None, "delivery_resumed")


def test_wrong_key_for_a_thousand_points(rig) -> None:
    """
    A key that is wrong for a day costs no point and no attempt.
    """
    it = rig(BAD_KEY, points=1000, concurrency=8)
    it.run(DAY)
    it.api.replies = [OK]
    it.run(LAST_PROBE * 1.2)

    assert it.states() == {"registered": 1000}
    assert {stored.attempts for stored in it.outbox.list(limit=1000)} == {1}


def test_api_down_for_three_days(rig) -> None:
    """
    Nothing is dropped in an outage of three days, no attempt is used up, and all points drain afterwards.
    """
    it = rig(DOWN, points=200, concurrency=8)
    it.run(3 * DAY)

    assert {(stored.state, stored.attempts) for stored in it.outbox.list(limit=300)} == {(State.PENDING, 0)}
    it.api.replies = [OK]
    it.run(LAST_PROBE * 1.2)
    assert it.states() == {"registered": 200}


def test_outage_is_probed_with_one_point(rig) -> None:
    """
    In an outage of a day one point is sent every 12 to 18 minutes, however many wait.
    """
    it = rig(DOWN, points=200, concurrency=8)
    it.run(600)
    before = len(it.api.bodies)
    it.run(DAY)

    assert DAY / LAST_PROBE / 1.2 - 1 <= len(it.api.bodies) - before <= DAY / LAST_PROBE / 0.8 + 1


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_probe_intervals(rig, factor: float) -> None:
    """
    A pause is probed after 30 s, give or take a fifth, then at intervals that double up to 15 minutes.
    """
    it = rig(BAD_KEY, points=3, uniform=lambda low, high: low if factor < 1 else high)
    waits = []
    for _ in range(8):
        it.deliver()
        waits.append(it.deliverer.pause_seconds / factor)
        it.clock.now += it.deliverer.pause_seconds

    assert waits == pytest.approx([30, 60, 120, 240, 480, 900, 900, 900])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*QUEUE_TROUBLE, DOWN, NO_ANSWER]), st.floats(0, 1)), max_size=20))
def test_any_pause_stays_below_its_cap(steps: list[tuple[Any, float]]) -> None:
    """
    Whatever comes in a row, a pause lasts 18 minutes at the most, or what `Retry-After` asked for; a wait 15 minutes.
    """
    it = Rig(points=2)
    for reply, draw in steps:
        it.deliverer._uniform = lambda low, high, draw=draw: low + draw * (high - low)
        it.api.replies = [reply]
        it.deliver()

        assert it.deliverer.pause_seconds <= LAST_PROBE * 1.2
        assert all(stored.due.timestamp() - it.clock.now <= LAST_PROBE for stored in it.outbox.list())
        it.clock.now += LAST_PROBE * 1.2
    it.deliverer.close()


@pytest.mark.parametrize("reply", [BAD_KEY, DOWN, NO_ANSWER, answer(500, b"")], ids=["key", "down", "silent", "500"])
def test_any_failed_probe_prolongs_the_pause(rig, reply: Any) -> None:
    """
    A probe that fails in another way than the pause began is no reason to try again at once.
    """
    it = rig(BAD_KEY, points=5)
    it.deliver()
    it.clock.now += it.deliverer.pause_seconds
    it.api.replies, before = [reply], len(it.api.bodies)
    it.deliver()

    assert len(it.api.bodies) == before + 1
    assert it.deliverer.pause_seconds >= FIRST_PROBE


def test_pause_is_said_once(rig, caplog) -> None:
    """
    A pause is logged when it begins, not at every probe.
    """
    it = rig(BAD_KEY, points=3)
    it.run(DAY)

    assert [record.action for record in caplog.records] == ["delivery_paused"]


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        *[("5", 5), ("2.5", 2.5), ("9" * 20, MAX_RETRY_AFTER), ("soon", 36), ("", 36), ("0", 1)],
        *[("Sun, 06 Nov 1994 08:49:37 GMT", 1), ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER)],
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(rig, status: int, value: str, wait: float) -> None:
    """
    `Retry-After` is honoured from 1 s to 1 h; without a usable one a 429 pauses like other trouble.
    """
    it = rig(answer(status, b"", retry_after=value))
    it.deliver()

    if status == 503 and wait == 36:
        assert it.deliverer.pause_reason is None
    else:
        assert it.deliverer.pause_seconds == wait


def test_success_of_a_point_sent_before_does_not_end_a_pause(rig) -> None:
    """
    An API that throttles is left alone, even when it still answers points that were under way.
    """
    throttled = threading.Event()

    def slow(body: dict[str, Any]) -> Any:
        assert throttled.wait(PATIENCE)
        return OK(body)

    it = rig(OK, points=2, concurrency=2)
    it.deliver()
    it.add("slow", "throttled")
    results = it.deliverer._senders.results

    def see(timeout: float) -> Any:
        answers = results(timeout)
        if any(claimed.point.idempotency_key == "throttled" for claimed, _ in answers):
            throttled.set()
        return answers

    it.deliverer._senders.results = see
    it.api.replies = [lambda body: (slow if body["idempotencyKey"] == "slow" else THROTTLING[0])(body)]

    assert it.deliver() == 1
    assert (it.deliverer.pause_seconds, it.states()) == (5, {"pending": 1, "registered": 3})
    assert it.api.keys.count("throttled") == 1


def test_twenty_refusals_in_a_row(rig) -> None:
    """
    When the API refuses everything, twenty points are rejected, and the rest waits.
    """
    it = rig(answer(422, REFUSAL), points=500, concurrency=8)
    it.run(DAY)

    assert it.states() == {"pending": 480, "rejected": 20}
    assert it.deliverer.pause_reason.startswith("20 points in a row were refused")


def test_refusals_end(rig) -> None:
    """
    A probe that is taken ends the pause after twenty refusals, and none of the rest is lost.
    """
    it = rig(answer(422, REFUSAL), points=100)
    it.deliver()
    it.api.replies = [OK]
    it.run(60)

    assert it.states() == {"registered": 80, "rejected": 20}


def test_refusals_between_successes(rig) -> None:
    """
    Refusals that are not in a row pause nothing.
    """
    it = rig(lambda body: (OK if int(body["idempotencyKey"]) % 10 == 0 else answer(422, REFUSAL))(body), points=100)
    it.deliver()

    assert (it.states(), it.deliverer.pause_reason) == ({"registered": 10, "rejected": 90}, None)


def test_concurrency(rig) -> None:
    """
    As many points are sent at a time as settings say, and no more.
    """
    together = threading.Barrier(8, timeout=PATIENCE)

    def meet(body: dict[str, Any]) -> Any:
        together.wait()
        return OK(body)

    it = rig(points=50, concurrency=8)
    it.deliver()
    it.api.replies = [meet]
    it.add(*(f"met {number}" for number in range(16)))

    assert it.deliver() == 16
    assert it.api.most == 8


def test_ramp_up(rig) -> None:
    """
    Delivery begins with one point at a time and doubles with each success.
    """
    answered: list[None] = []
    seen: list[bool] = []

    def check(body: dict[str, Any]) -> Any:
        seen.append(it.api._now <= 2 ** len(answered))
        answered.append(None)
        return OK(body)

    it = rig(check, points=100, concurrency=64)
    it.deliver()

    assert seen == [True] * 100


def test_slow_point(rig) -> None:
    """
    A point that takes long does not stop the others.
    """
    others = threading.Semaphore(0)

    def slow(_: dict[str, Any]) -> Any:
        assert all(others.acquire(timeout=PATIENCE) for _ in range(40))
        return OK({})

    def quick(_: dict[str, Any]) -> Any:
        others.release()
        return OK({})

    it = rig(points=4, concurrency=2)
    it.deliver()
    it.api.replies = [slow, quick]
    it.add(*(f"later {number}" for number in range(41)))

    assert it.deliver() == 41


def hang(it: Rig) -> tuple[threading.Event, threading.Event]:
    entered, leave = threading.Event(), threading.Event()

    def reply(body: dict[str, Any]) -> Any:
        entered.set()
        leave.wait(PATIENCE)
        return OK(body)

    it.api.replies = [reply]
    return entered, leave


@pytest.mark.parametrize("within", [0.0, 0.05])
def test_finish_within(rig, within: float) -> None:
    """
    Another thread can end a pass whose API hangs; what is unsent goes back, what was sent stays claimed.
    """
    it = rig(points=5, clock=time.monotonic)
    entered, leave = hang(it)
    with ThreadPoolExecutor() as threads:
        passing = threads.submit(it.deliver)
        assert entered.wait(PATIENCE)
        it.deliverer.finish_within(within)
        try:
            assert passing.result(PATIENCE) == 0
        finally:
            leave.set()

    assert it.outbox.counts().claimed == 1
    assert sorted(stored.attempts for stored in it.outbox.list()) == [0, 0, 0, 0, 1]


def test_time_limit(rig) -> None:
    """
    A pass ends within its own time limit, and a later one picks up the answer that came meanwhile.
    """
    it = rig(points=1, clock=time.monotonic)
    _, leave = hang(it)

    assert it.deliverer.deliver(0.05) == 0
    leave.set()
    assert it.deliver() == 1
    assert it.api.keys == ["0"]


def test_no_time_left(rig) -> None:
    """
    A pass without time sends nothing and claims nothing.
    """
    it = rig()

    assert it.deliverer.deliver(0) == 0
    assert (it.api.bodies, it.get().attempts) == ([], 0)


def test_passes_take_turns(rig) -> None:
    """
    Threads that deliver at the same time share the work and get in nobody's way.
    """
    it = rig(points=200, concurrency=4)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: it.deliverer.deliver(PATIENCE), range(8))) == 200

    assert time.monotonic() - began < PATIENCE
    assert sorted(it.api.keys) == sorted(map(str, range(200)))


def test_turn_that_does_not_come(rig) -> None:
    """
    A thread whose turn does not come within its time goes away.
    """
    it = rig(clock=time.monotonic)
    entered, leave = hang(it)
    with ThreadPoolExecutor() as threads:
        passing = threads.submit(it.deliver)
        assert entered.wait(PATIENCE)
        try:
            assert it.deliverer.deliver(0.01) == 0
        finally:
            leave.set()
        assert passing.result(PATIENCE) == 1


@pytest.mark.parametrize("lease_over", [True, False])
def test_refused_write_back(rig, *, lease_over: bool) -> None:
    """
    An answer that the store refuses is kept until it takes it, and its point is not sent again.
    """
    it = rig()
    it.outbox.refuses = frozenset({"update"})
    with pytest.raises(OutboxError):
        it.deliver()
    it.clock.now += lease_over * (it.settings.lease + 1)
    it.outbox.refuses = frozenset()

    assert it.deliver() == 1
    assert (it.get().state, it.api.keys) == (State.REGISTERED, ["0"])


def test_refused_claim(rig) -> None:
    """
    An answer that arrives after the store refused a claim is written before its point can be claimed again.
    """
    recovered = threading.Event()

    def reply(body: dict[str, Any]) -> Any:
        it.outbox.refuses = frozenset({"claim"})
        assert body["idempotencyKey"] == "quick" or recovered.wait(PATIENCE)
        return OK(body)

    it = rig(points=2, concurrency=2)
    it.deliver()
    it.api.replies = [reply]
    it.add("quick", "slow")
    with pytest.raises(OutboxError):
        it.deliver()
    recovered.set()
    for result in it.deliverer._senders.results(PATIENCE):
        it.deliverer._senders._results.put(result)
    it.clock.now += it.settings.lease + 1
    it.outbox.refuses = frozenset()

    assert it.deliver() == 1
    assert sorted(it.api.keys) == ["0", "1", "quick", "slow"]


@pytest.mark.parametrize("deliverers", [1, 2])
def test_every_point_once(rig, deliverers: int) -> None:
    """
    2,000 points go out once each through eight senders, also with two deliverers on one store.
    """
    it = rig(points=2000, concurrency=8)
    several = [it.deliverer, *(it.new_deliverer() for _ in range(deliverers - 1))]
    with ThreadPoolExecutor() as threads:
        assert sum(threads.map(lambda deliverer: deliverer.deliver(), several)) == 2000
    for deliverer in several:
        deliverer.close()

    assert sorted(it.api.keys) == sorted(map(str, range(2000)))
    assert it.states() == {"registered": 2000}


def test_closed_deliverer_works_again(rig) -> None:
    """
    Closing ends the senders; a later pass starts new ones.
    """
    it = rig(points=1)
    it.deliver()
    it.deliverer.close()
    it.add("later")

    assert it.deliver() == 1


def test_one_thread_delivers_for_all(rig) -> None:
    """
    A thread that asks while another delivers returns at once, and the other delivers its point.
    """
    arrived, go_on = threading.Event(), threading.Event()

    def slow(body: dict[str, Any]) -> Any:
        arrived.set()
        assert go_on.wait(PATIENCE)
        return OK(body)

    it = rig(slow, OK)
    registered: list[int] = []
    busy = threading.Thread(target=lambda: registered.append(it.deliver()))
    busy.start()
    assert arrived.wait(PATIENCE)
    it.add("1")

    assert it.deliver() == 0
    go_on.set()
    busy.join(PATIENCE)
    assert registered == [2]

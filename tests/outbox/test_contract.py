"""
What every outbox promises, as one suite over all stores.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone

import pytest

from remotion_licensing_integrations.models import Registration
from remotion_licensing_integrations.outbox import Counts, MemoryOutbox, State
from remotion_licensing_integrations.outbox.base import MAX_DELAY, MAX_ERROR_LENGTH
from remotion_licensing_integrations.outbox.sqlite import SQLiteOutbox
from tests.outbox._values import DAY, moment, point, points

#: A new store needs one entry here.
STORES = {
    "memory": lambda place, clock: MemoryOutbox(clock=clock),
    "sqlite": lambda place, clock: SQLiteOutbox(place / "outbox.sqlite3", clock=clock),
}
REGISTRATION = Registration(billable=True, classification="billable")
#: What leads a claimed point into a state.
WAYS = {
    State.PENDING: lambda claimed: claimed.release(),
    State.REGISTERED: lambda claimed: claimed.settle(REGISTRATION),
    State.REJECTED: lambda claimed: claimed.reject("no"),
    State.HELD: lambda claimed: claimed.hold("who knows", unanswered=True),
}


@pytest.fixture(params=STORES)
def outbox(request, place, clock):
    outbox = STORES[request.param](place, clock)
    yield outbox
    outbox.close()


def keys(found):
    return [each.point.idempotency_key for each in found]


def claim(outbox, limit=100, lease=60):
    return outbox.claim(limit, lease=lease)


def bring(outbox, state, *keys):
    """
    Add points and bring them into a state.
    """
    outbox.add([point(key) for key in keys])
    assert outbox.write([WAYS[state](claimed) for claimed in claim(outbox)]) == len(keys)


def test_added_point_is_pending_and_due(outbox):
    """
    A point starts pending, due now, never sent.
    """
    outbox.add([point()])
    stored = outbox.get("key")

    assert (State.PENDING, 0, moment(), False) == (stored.state, stored.attempts, stored.due, stored.claimed)
    assert (None, None, None) == (stored.registration, stored.last_error, stored.unanswered_since)


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "https://müller.example"},
        {"host": "x" * 300},
        {"succeeded": False, "is_still": True, "is_production": False},
        {"event": "web-render", "idempotency_key": "~" * 255},
        {"occurred_at": moment(0.123456)},
        {"occurred_at": moment().astimezone(timezone(timedelta(hours=5, minutes=45)))},
    ],
)
def test_point_comes_back_as_it_was(outbox, fields):
    """
    Every field survives the store.
    """
    added = point(**fields)
    outbox.add([added])

    assert [added] == [claimed.point for claimed in claim(outbox)]


def test_key_twice_in_one_call(outbox):
    """
    The first point of a key is the one that counts.
    """
    outbox.add([point(host="https://first"), point(host="https://second")])

    assert ["https://first"] == [stored.point.host for stored in outbox.list()]


@pytest.mark.parametrize("state", State)
def test_known_key_is_left_as_it_is(outbox, state, clock):
    """
    Adding a stored key again changes nothing, whatever its state.
    """
    bring(outbox, state, "key")
    before = outbox.get("key")
    clock.now += 5
    outbox.add([point(host="https://other")])

    assert [before] == outbox.list()


def test_known_key_of_a_claimed_point(outbox):
    """
    Adding the key of a claimed point again does not take the claim away.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    outbox.add([point()])

    assert outbox.write([claimed.settle(REGISTRATION)]) == 1


def test_nothing_to_add(outbox):
    """
    No points are no trouble.
    """
    outbox.add([])

    assert Counts() == outbox.counts()


def test_longest_due_comes_first(outbox, clock):
    """
    Claims follow the due time, not the order of arrival.
    """
    outbox.add(points(3))
    outbox.write([claimed.release(delay=30 - 10 * index) for index, claimed in enumerate(claim(outbox))])
    clock.now += 30

    assert ["key-2", "key-1", "key-0"] == keys(claim(outbox))


def test_equally_due_come_as_they_arrived(outbox):
    """
    Points due at the same moment are claimed in the order of their arrival, the limit included.
    """
    outbox.add(points(5))

    assert [["key-0", "key-1"], ["key-2", "key-3"], ["key-4"], []] == [keys(claim(outbox, 2)) for _ in range(4)]


def test_claim_says_what_is_known(outbox):
    """
    A first claim is the first attempt, and rows have names of their own.
    """
    outbox.add(points(2))
    claimed = claim(outbox)

    assert [(1, None), (1, None)] == [(each.attempts, each.unanswered_since) for each in claimed]
    assert len({each.row for each in claimed}) == 2


def test_claimed_point_is_shown_as_such(outbox):
    """
    A claimed point is still pending, with the attempt counted and due at the end of the lease.
    """
    outbox.add([point()])
    claim(outbox, lease=60)
    stored = outbox.get("key")

    assert (State.PENDING, 1, moment(60), True) == (stored.state, stored.attempts, stored.due, stored.claimed)


def test_lease_keeps_others_away(outbox, clock):
    """
    Until the lease ends nobody else gets the point.
    """
    outbox.add([point()])
    claim(outbox, lease=60)
    clock.now += 59.9

    assert claim(outbox) == []


def test_lease_runs_out(outbox, clock):
    """
    At the end of its lease a point can be claimed again, as another attempt.
    """
    outbox.add([point()])
    claim(outbox, lease=60)
    clock.now += 60

    assert [2] == [claimed.attempts for claimed in claim(outbox)]


def test_late_write_changes_nothing(outbox, clock):
    """
    Whoever lost the point to another claim cannot write it.
    """
    outbox.add([point()])
    [late] = claim(outbox)
    clock.now += 60
    [current] = claim(outbox)

    assert outbox.write([late.settle(REGISTRATION)]) == 0
    assert outbox.get("key").claimed
    assert outbox.write([current.settle(REGISTRATION)]) == 1


def test_write_after_an_unclaimed_lease(outbox, clock):
    """
    An answer that comes after the lease still counts when nobody else has claimed the point.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    clock.now += 3600

    assert outbox.write([claimed.settle(REGISTRATION)]) == 1


def test_write_twice(outbox):
    """
    A change takes effect once.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)

    assert [1, 0] == [outbox.write([claimed.release()]) for _ in range(2)]


def test_write_counts_what_took_effect(outbox):
    """
    Of several changes those are counted whose claim still stands.
    """
    outbox.add(points(3))
    first, second, third = claim(outbox)
    outbox.write([second.release()])

    assert outbox.write([first.reject("no"), second.reject("no"), third.settle(REGISTRATION)]) == 2
    assert outbox.write([]) == 0


def test_settled_point(outbox, clock):
    """
    A registered point has the API's answer and the moment of it.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    clock.now += 2
    outbox.write([claimed.settle(Registration(billable=None, classification=None))])
    stored = outbox.get("key")

    assert (State.REGISTERED, moment(2), False, 1) == (stored.state, stored.due, stored.claimed, stored.attempts)
    assert Registration(billable=None, classification=None) == stored.registration


def test_release_hands_the_attempt_back(outbox):
    """
    A released claim was no attempt, and the point is due at once.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    outbox.write([claimed.release("the queue is on hold")])
    stored = outbox.get("key")

    assert (0, moment(), "the queue is on hold") == (stored.attempts, stored.due, stored.last_error)
    assert [1] == [again.attempts for again in claim(outbox)]


@pytest.mark.parametrize(("delay", "later"), [(0, 0), (30, 30), (MAX_DELAY + 1, MAX_DELAY), (float("inf"), MAX_DELAY)])
def test_reschedule(outbox, delay, later):
    """
    A rescheduled point is due after the delay, which has a bound; the attempt counts.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    outbox.write([claimed.reschedule(delay, "HTTP 500")])
    stored = outbox.get("key")

    assert (moment(later), 1, "HTTP 500", False) == (stored.due, stored.attempts, stored.last_error, stored.claimed)


@pytest.mark.parametrize("state", [State.REJECTED, State.HELD])
def test_retry_starts_over(outbox, state, clock):
    """
    A retried point is pending and due again under its key, as if never sent.
    """
    bring(outbox, state, "key")
    clock.now += 5

    assert outbox.retry(["key", "key", "unknown", "\ud800"]) == 1
    stored = outbox.get("key")
    assert (State.PENDING, moment(5), 0, None) == (stored.state, stored.due, stored.attempts, stored.unanswered_since)


def test_retry_all(outbox):
    """
    Without keys everything rejected or held is retried, and nothing else; with an empty list nothing.
    """
    for state in State:
        bring(outbox, state, state.value) if state is not State.PENDING else None
    outbox.add([point("pending")])

    assert [0, 2] == [outbox.retry([]), outbox.retry()]
    assert Counts(pending=3, registered=1, oldest_pending=moment()) == outbox.counts()


@pytest.mark.parametrize("state", [State.PENDING, State.REGISTERED])
def test_retry_leaves_others(outbox, state):
    """
    A point that is pending or registered cannot be retried.
    """
    bring(outbox, state, "key")

    assert outbox.retry(["key"]) == 0


def test_unanswered_since_is_set_once(outbox, clock):
    """
    The moment of the first attempt without an answer stays.
    """
    outbox.add([point()])
    for _ in range(3):
        outbox.write([claimed.reschedule(0, "timeout", unanswered=True) for claimed in claim(outbox)])
        clock.now += 10

    assert moment() == outbox.get("key").unanswered_since
    assert [moment()] == [claimed.unanswered_since for claimed in claim(outbox)]


@pytest.mark.parametrize("error", ["x" * 2000, "\ud800" * 2000, "\0" * 2000, "é" * 2000])
def test_any_error_text_can_be_kept(outbox, error):
    """
    Errors and classifications come from outside: they are cut, and whatever they hold is no obstacle.
    """
    outbox.add(points(2))
    first, second = claim(outbox)

    assert outbox.write([first.reject(error), second.settle(Registration(billable=True, classification=error))]) == 2
    assert len(outbox.get("key-0").last_error) == MAX_ERROR_LENGTH
    assert len(outbox.get("key-1").registration.classification) == MAX_ERROR_LENGTH


def test_counts(outbox):
    """
    Every state is counted, claimed points as pending, too.
    """
    for state in (State.REGISTERED, State.REJECTED, State.HELD):
        bring(outbox, state, state.value)
    outbox.add([point("new", occurred_at=moment(-5)), point("older", occurred_at=moment(-9)), point("newest")])
    claim(outbox, 1)

    assert Counts(pending=3, claimed=1, registered=1, rejected=1, held=1, oldest_pending=moment(-9)) == outbox.counts()


def test_claims_that_ran_out_are_not_counted(outbox, clock):
    """
    A point whose lease is over is claimed by nobody.
    """
    outbox.add([point()])
    claim(outbox, lease=60)
    clock.now += 60

    assert (0, False) == (outbox.counts().claimed, outbox.get("key").claimed)


def test_list(outbox):
    """
    The latest come first, of one state or of all, no more than asked for.
    """
    bring(outbox, State.HELD, "a", "b")
    outbox.add([point("c")])

    assert [["c", "b", "a"], ["b", "a"], ["c", "b"], []] == [
        keys(outbox.list(*arguments, limit=limit))
        for arguments, limit in [((), 100), ((State.HELD,), 100), ((), 2), ((State.REJECTED,), 100)]
    ]


@pytest.mark.parametrize("key", ["", "unknown", "é", "\ud800", "\0"])
def test_get_unknown(outbox, key):
    """
    No point goes by a key that was never added.
    """
    outbox.add([point()])

    assert outbox.get(key) is None


def test_prune(outbox, clock):
    """
    Only what was registered long enough ago is deleted.
    """
    bring(outbox, State.REGISTERED, "old")
    bring(outbox, State.REJECTED, "rejected")
    bring(outbox, State.HELD, "held")
    outbox.add([point("pending")])
    clock.now += 100
    outbox.write([claimed.release() for claimed in claim(outbox)])
    bring(outbox, State.REGISTERED, "young") if claim(outbox) else None

    assert [0, 1, 0] == [outbox.prune(100), outbox.prune(99), outbox.prune(99)]
    assert ["young", "pending", "held", "rejected"] == keys(outbox.list())


def test_pruned_key_is_forgotten(outbox):
    """
    The key of a pruned point can be added again, and an old claim has no hold on it.
    """
    outbox.add([point()])
    [old] = claim(outbox)
    outbox.write([old.settle(REGISTRATION)])
    outbox.prune(-1)
    outbox.add([point()])
    claim(outbox)

    assert outbox.write([old.settle(REGISTRATION)]) == 0


def test_next_due(outbox, clock):
    """
    The wait is until the first pending point is due, a lease included.
    """
    waits = [outbox.next_due()]
    outbox.add(points(2))
    waits.append(outbox.next_due())
    first, _ = claim(outbox, lease=60)
    outbox.write([first.reschedule(20, "HTTP 500")])
    waits.append(outbox.next_due())
    clock.now += 25
    waits.append(outbox.next_due())
    outbox.write([claimed.settle(REGISTRATION) for claimed in claim(outbox, lease=60)])

    assert [None, 0, 20, 0, 35] == [*waits, outbox.next_due()]


def test_clock_goes_back_a_day(outbox, clock):
    """
    What seems to be put off for longer than is ever done is due now, a claim included.
    """
    outbox.add(points(2))
    claim(outbox, 1)
    clock.now -= DAY

    assert outbox.next_due() == 0
    assert ["key-1", "key-0"] == keys(claim(outbox))


def test_points_from_the_future_among_others(outbox, clock):
    """
    They neither wait for those that are due later nor push out those that are due.
    """
    outbox.add([point("future")])
    clock.now -= DAY
    outbox.add(points(2))
    [first] = claim(outbox, 1)
    outbox.write([first.reschedule(30, "HTTP 500")])

    assert ["key-1", "future"] == keys(claim(outbox))
    assert outbox.next_due() == 30


@pytest.mark.parametrize("seconds", [DAY, -DAY, -MAX_DELAY, -1800])
def test_no_clock_makes_a_point_wait_long(outbox, clock, seconds):
    """
    However the clock jumps, a point is due within the longest delay.
    """
    outbox.add([point()])
    clock.now += seconds
    clock.now += outbox.next_due()

    assert ["key"] == keys(claim(outbox))
    assert clock.now <= moment(seconds + MAX_DELAY).timestamp()


def test_endless_lease(outbox, clock):
    """
    A lease is no longer than the longest delay, else it would seem to be a fault of the clock.
    """
    outbox.add([point()])
    claim(outbox, lease=DAY)
    clock.now += MAX_DELAY - 1

    assert claim(outbox) == []
    assert outbox.next_due() == 1


def test_claimers_never_share_a_point(outbox):
    """
    Eight threads that claim at once get every point once.
    """
    outbox.add(points(200))

    def take(_):
        taken = []
        while claimed := claim(outbox, 7):
            taken += keys(claimed)
        return taken

    with ThreadPoolExecutor(8) as executor:
        taken = [key for keys in executor.map(take, range(8)) for key in keys]
    assert sorted(taken) == sorted(each.idempotency_key for each in points(200))


def test_close_and_use_again(outbox):
    """
    A closed outbox opens by itself, with everything in it; closing twice and opening twice are no trouble.
    """
    outbox.open()
    outbox.open()
    outbox.add([point()])
    outbox.close()
    outbox.close()

    assert ["key"] == keys(claim(outbox))

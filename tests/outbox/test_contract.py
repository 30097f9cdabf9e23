"""
What every outbox promises of adding, claiming and writing, as one suite over all stores.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone

import pytest

from remotion_licensing_integrations.outbox import MAX_DELAY, MAX_ERROR_LENGTH, Counts, State
from remotion_licensing_integrations.outbox.forgotten import MAX_REMEMBERED
from remotion_licensing_integrations.outbox.values import DISCARDABLE
from remotion_licensing_integrations.points.point import Registration
from tests.outbox._values import FINISHED, REGISTRATION, bring, claim, keys, moment, point, points


def test_added_point_is_pending_and_due(outbox):
    """
    A point starts pending, due now, never sent.
    """
    outbox.add([point()])
    stored = outbox.get("key")

    assert (State.PENDING, 0, moment(), False) == (stored.state, stored.attempts, stored.due, stored.claimed)
    assert (stored.registration, stored.last_error, stored.unanswered_since) == (None, None, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "https://müller.example"},
        {"host": "x" * 300},
        {"succeeded": False, "is_still": True, "is_production": False},
        {"event": "web-render", "idempotency_key": "~" * 255},
        {"label": "Müller & Söhne 🎬"},
        {"label": "x" * 100},
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

    assert [stored.point.host for stored in outbox.list()] == ["https://first"]


def test_keys_differ_by_case(outbox):
    """
    Keys that differ in upper and lower case only are two points.
    """
    outbox.add([point("render-a"), point("render-A")])

    assert keys(outbox.list()) == ["render-A", "render-a"]
    assert outbox.get("render-A").point.idempotency_key == "render-A"


@pytest.mark.parametrize("again", [{"host": "https://other"}, {"succeeded": None}])
@pytest.mark.parametrize("state", FINISHED)
def test_known_key_is_left_as_it_is(outbox, state, again, clock):
    """
    Adding a stored key again changes nothing, whatever its state, and also when it comes as deferred.
    """
    bring(outbox, state, "key")
    before = outbox.get("key")
    clock.now += 5
    outbox.add([point(**again)])

    assert [before] == outbox.list()


def test_deferred_point_waits_for_its_outcome(outbox):
    """
    A point without an outcome is stored, and nobody can claim it.
    """
    outbox.add([point(succeeded=None)])
    stored = outbox.get("key")

    assert (State.DEFERRED, None, moment(), False) == (
        stored.state,
        stored.point.succeeded,
        stored.due,
        stored.claimed,
    )
    assert (claim(outbox), outbox.next_due()) == ([], None)


@pytest.mark.parametrize("succeeded", [True, False])
def test_outcome_makes_a_deferred_point_due(outbox, succeeded, clock):
    """
    The point that brings the outcome takes the place of the deferred one.
    """
    outbox.add([point(succeeded=None)])
    clock.now += 5
    values = {"host": "https://myapp.com", "label": "customer-42", "is_still": True, "occurred_at": moment(5)}
    finished = point(succeeded=succeeded, **values)
    outbox.add([finished])

    assert outbox.get("key").due == moment(5)
    assert [finished] == [claimed.point for claimed in claim(outbox)]
    assert len(outbox.list()) == 1


def test_first_outcome_stands(outbox):
    """
    A second outcome of a deferred point changes nothing.
    """
    outbox.add([point(succeeded=None)])
    outbox.add([point(succeeded=True)])
    outbox.add([point(succeeded=False)])

    assert outbox.get("key").point.succeeded is True


def test_points_of_one_call_keep_their_own_fields(outbox):
    """
    Points that are stored together come back as they were, whatever one of them has and another has not.
    """
    added = [
        point("a", succeeded=None),
        point("b", host="https://müller.example", is_still=True),
        point("c", succeeded=False, event="web-render", occurred_at=moment(0.5)),
        point("d", label="customer-42"),
        point("e", key_fingerprint="0123456789abcdef"),
    ]
    outbox.add(added)

    assert added == [stored.point for stored in reversed(outbox.list())]


def test_deferral_and_outcome_together(outbox):
    """
    In one call, too, a point that is first deferred and then finished is finished, in either order.
    """
    outbox.add([point("a", succeeded=None), point("a"), point("b"), point("b", succeeded=None)])

    assert Counts(pending=2, oldest_pending=moment()) == outbox.counts()


def test_deferral_is_not_renewed(outbox, clock):
    """
    A point that is deferred again keeps the moment of its first deferral.
    """
    outbox.add([point(succeeded=None)])
    before = outbox.get("key")
    clock.now += 5
    outbox.add([point(succeeded=None, occurred_at=moment(5))])

    assert [before] == outbox.list()


def test_known_key_of_a_claimed_point(outbox):
    """
    Adding the key of a claimed point again does not take the claim away.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    outbox.add([point()])

    assert outbox.update([claimed.register(REGISTRATION)]) == 1


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
    outbox.update([claimed.release(delay=30 - 10 * index) for index, claimed in enumerate(claim(outbox))])
    clock.now += 30

    assert keys(claim(outbox)) == ["key-2", "key-1", "key-0"]


def test_equally_due_come_as_they_arrived(outbox):
    """
    Points due at the same moment are claimed in the order of their arrival, the limit included.
    """
    outbox.add(points(5))

    assert [keys(claim(outbox, 2)) for _ in range(4)] == [["key-0", "key-1"], ["key-2", "key-3"], ["key-4"], []]


def test_claim_says_what_is_known(outbox):
    """
    A first claim is the first attempt, and rows have names of their own.
    """
    outbox.add(points(2))
    claimed = claim(outbox)

    assert [(each.attempts, each.unanswered_since) for each in claimed] == [(1, None), (1, None)]
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

    assert [claimed.attempts for claimed in claim(outbox)] == [2]


def test_late_write_changes_nothing(outbox, clock):
    """
    Whoever lost the point to another claim cannot write it.
    """
    outbox.add([point()])
    [late] = claim(outbox)
    clock.now += 60
    [current] = claim(outbox)

    assert outbox.update([late.register(REGISTRATION)]) == 0
    assert outbox.get("key").claimed
    assert outbox.update([current.register(REGISTRATION)]) == 1


def test_write_after_an_unclaimed_lease(outbox, clock):
    """
    An answer that comes after the lease still counts when nobody else has claimed the point.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    clock.now += 3600

    assert outbox.update([claimed.register(REGISTRATION)]) == 1


def test_write_twice(outbox):
    """
    A change takes effect once.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)

    assert [outbox.update([claimed.release()]) for _ in range(2)] == [1, 0]


def test_first_change_of_a_claim_stands(outbox):
    """
    Of several changes of one claim, in one call too, the first takes effect.
    """
    outbox.add(points(2))
    first, second = claim(outbox)
    changes = [first.reject("no"), second.release(), first.register(REGISTRATION), second.hold("?", unanswered=True)]

    assert outbox.update(changes) == 2
    assert [stored.state for stored in outbox.list()] == [State.PENDING, State.REJECTED]


def test_write_counts_what_took_effect(outbox):
    """
    Of several changes those are counted whose claim still stands.
    """
    outbox.add(points(3))
    first, second, third = claim(outbox)
    outbox.update([second.release()])

    assert outbox.update([first.reject("no"), second.reject("no"), third.register(REGISTRATION)]) == 2
    assert outbox.update([]) == 0


def test_updated_point(outbox, clock):
    """
    A registered point has the API's answer and the moment of it.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    clock.now += 2
    outbox.update([claimed.register(Registration(billable=None, classification=None))])
    stored = outbox.get("key")

    assert (State.REGISTERED, moment(2), False, 1) == (stored.state, stored.due, stored.claimed, stored.attempts)
    assert Registration(billable=None, classification=None) == stored.registration


def test_points_settled_together(outbox):
    """
    Each of several claims that are updated together gets its own change.
    """
    outbox.add(points(4))
    first, second, third, fourth = claim(outbox)
    outbox.update(
        [
            first.release(),
            second.register(REGISTRATION),
            third.reschedule(0.5, "Zeitüberschreitung 🕰", unanswered=True),
            fourth.reject("%s' \\"),
        ]
    )
    stored = [outbox.get(f"key-{index}") for index in range(4)]

    assert [each.state for each in stored] == [State.PENDING, State.REGISTERED, State.PENDING, State.REJECTED]
    assert [each.last_error for each in stored] == [None, None, "Zeitüberschreitung 🕰", "%s' \\"]
    assert [moment(), moment(), moment(0.5), moment()] == [each.due for each in stored]
    assert [each.registration for each in stored] == [None, REGISTRATION, None, None]
    assert [each.attempts for each in stored] == [0, 1, 1, 1]
    assert [None, None, moment(), None] == [each.unanswered_since for each in stored]


def test_release_hands_the_attempt_back(outbox):
    """
    A released claim was no attempt, and the point is due at once.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    outbox.update([claimed.release("delivery is paused")])
    stored = outbox.get("key")

    assert (0, moment(), "delivery is paused") == (stored.attempts, stored.due, stored.last_error)
    assert [again.attempts for again in claim(outbox)] == [1]


@pytest.mark.parametrize(("delay", "later"), [(0, 0), (30, 30), (MAX_DELAY + 1, MAX_DELAY), (float("inf"), MAX_DELAY)])
def test_reschedule(outbox, delay, later):
    """
    A rescheduled point is due after the delay, which has a bound; the attempt counts.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    outbox.update([claimed.reschedule(delay, "HTTP 500")])
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
    for state in (State.REGISTERED, State.REJECTED, State.HELD, State.DEFERRED):
        bring(outbox, state, state.value)
    outbox.add([point("pending")])

    assert [outbox.retry([]), outbox.retry()] == [0, 2]
    assert (
        Counts(deferred=1, pending=3, registered=1, oldest_pending=moment(), oldest_deferred=moment())
        == outbox.counts()
    )


@pytest.mark.parametrize("state", [State.PENDING, State.REGISTERED, State.DEFERRED])
def test_retry_leaves_others(outbox, state):
    """
    A point that is pending, registered or deferred cannot be retried.
    """
    bring(outbox, state, "key")

    assert outbox.retry(["key"]) == 0


@pytest.mark.parametrize(
    ("state", "number"), [("pending", 0), ("registered", 0), ("rejected", 1), ("held", 1), ("deferred", 1)]
)
def test_discard(outbox, state, number):
    """
    Only a point that is rejected, held or deferred can be discarded, by its key.
    """
    bring(outbox, State(state), "key")

    assert outbox.discard(["key", "key", "unknown", "\ud800"]) == number
    assert len(outbox.list()) == 1 - number


def test_discard_nothing(outbox):
    """
    Without keys or states nothing is discarded, nor in another state than asked for.
    """
    bring(outbox, State.HELD, "key")

    assert [outbox.discard([]), outbox.discard(["key"], ()), outbox.discard(["key"], {State.DEFERRED})] == [0, 0, 0]


@pytest.mark.parametrize("before", [(), ("other",)])
def test_deferral_forgotten_before_it_comes(outbox, before):
    """
    A deferral that is discarded before it is added is left out once, and its outcome counts all the same.
    """
    outbox.add([point(key, succeeded=None) for key in before])
    discarded = outbox.discard([*before, "key"], {State.DEFERRED})
    outbox.add([point(succeeded=None)])
    left_out = outbox.get("key")
    outbox.add([point(succeeded=None)])
    again = outbox.get("key")
    outbox.add([point()])

    assert (discarded, left_out, again.state) == (len(before), None, State.DEFERRED)
    assert outbox.get("key").state is State.PENDING


def test_outcome_of_a_forgotten_deferral(outbox):
    """
    An outcome counts, whether its deferral was forgotten or not.
    """
    outbox.discard(["key"], {State.DEFERRED})
    outbox.add([point(succeeded=None), point()])

    assert outbox.get("key").state is State.PENDING


def test_forgotten_deferrals_are_bounded(outbox):
    """
    Of many deferrals that never come the oldest are no longer remembered.
    """
    outbox.discard([f"key-{number}" for number in range(MAX_REMEMBERED + 1)], {State.DEFERRED})
    outbox.add([point("key-0", succeeded=None), point("key-1", succeeded=None)])

    assert [stored.point.idempotency_key for stored in outbox.list()] == ["key-0"]


@pytest.mark.parametrize("states", [DISCARDABLE, {State.HELD}])
def test_other_discards_are_not_remembered(outbox, states):
    """
    A person who discards a point that is not there keeps no later deferral out.
    """
    outbox.discard(["key"], states)
    outbox.add([point(succeeded=None)])

    assert outbox.get("key").state is State.DEFERRED


def test_unanswered_since_is_set_once(outbox, clock):
    """
    The moment of the first attempt without an answer stays.
    """
    outbox.add([point()])
    for _ in range(3):
        outbox.update([claimed.reschedule(0, "timeout", unanswered=True) for claimed in claim(outbox)])
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

    assert outbox.update([first.reject(error), second.register(Registration(billable=True, classification=error))]) == 2
    assert len(outbox.get("key-0").last_error) == MAX_ERROR_LENGTH
    assert len(outbox.get("key-1").registration.classification) == MAX_ERROR_LENGTH


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


def test_expired_claim_is_unanswered(outbox, clock):
    """
    A point whose deliverer never came back may have been sent, since the end of its lease at the latest.
    """
    outbox.add([point()])
    claim(outbox, lease=60)
    clock.now += 100
    [again] = claim(outbox)

    assert again.unanswered_since == moment(60)


def test_released_claim_is_not_unanswered(outbox):
    """
    A point that was given back unsent is claimed as if nothing had been.
    """
    outbox.add([point()])
    outbox.update([claimed.release() for claimed in claim(outbox)])
    [again] = claim(outbox)

    assert again.unanswered_since is None

"""
What every outbox promises of its totals, as one suite over all stores, and what pruning must never do to them.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pytest

from remotion_licensing_integrations.outbox import DIMENSIONS, State, Total, beginning
from remotion_licensing_integrations.points.point import Registration
from tests._server_outbox import new_databases
from tests.outbox import _programs
from tests.outbox._values import DAY, REGISTRATION, bring, claim, moment, point, points

TODAY = date(2023, 11, 14)  # of `START`, which is 22:13:20 in UTC
TOMORROW = TODAY + timedelta(days=1)
EVENING = 7_200.0  # seconds from `START` to after midnight


def register(outbox, *new, classification="billable"):
    """
    Add points and register them.
    """
    outbox.add(new)
    outbox.update(
        [
            claimed.register(Registration(billable=True, classification=classification))
            for claimed in claim(outbox, 1_000)
        ]
    )


def count(outbox, *by, **conditions):
    """
    Return the totals as numbers by the values of their group, in the order of *by*.
    """
    totals = outbox.totals(*by, **conditions)
    numbers = Counter({tuple(getattr(total, name) for name in by): total.number for total in totals})
    assert len(numbers) == len(totals)  # each group comes once
    return numbers


def test_totals_of_an_empty_outbox(outbox):
    """
    No point, no group.
    """
    assert (outbox.totals(), outbox.totals(*DIMENSIONS), outbox.totals("day", registered=True)) == ([], [], [])


def test_all_points_together(outbox):
    """
    Without dimensions all points are one group, whatever their state.
    """
    for state in sorted(State, key=lambda state: state is State.PENDING):
        bring(outbox, state, state.value)

    assert outbox.totals() == [Total(number=5)]


def test_groups(outbox):
    """
    Points that differ in a dimension are in different groups, others in the same.
    """
    register(outbox, point("a"), point("b"), point("c", host="https://myapp.com"))
    register(outbox, point("d", event="web-render"), classification="failed")

    assert count(outbox, "event", "host", "state", "classification") == {
        ("cloud-render", None, "registered", "billable"): 2,
        ("cloud-render", "https://myapp.com", "registered", "billable"): 1,
        ("web-render", None, "registered", "failed"): 1,
    }


def test_unanswered(outbox):
    """
    A point that was sent without an answer, or is being sent, can be told from the others.
    """
    bring(outbox, State.HELD, "held")
    bring(outbox, State.REJECTED, "rejected")
    outbox.add(points(3))
    claim(outbox, 1)

    assert count(outbox, "state", "unanswered") == {
        ("held", True): 1,
        ("rejected", False): 1,
        ("pending", True): 1,
        ("pending", False): 2,
    }


def test_waiting_points(outbox, clock):
    """
    Points that are not registered can be counted alone.
    """
    register(outbox, point("pruned"))
    outbox.prune(-1)
    for state in sorted(State, key=lambda state: state is State.PENDING):
        bring(outbox, state, state.value)

    assert {state for (state,) in count(outbox, "state", waiting=True)} == {*State} - {State.REGISTERED}
    assert count(outbox, waiting=True, until=moment()) == {}


def test_days_are_in_utc(outbox):
    """
    A day ends at midnight in UTC, by the moment at which a point occurred.
    """
    outbox.add([point("a"), point("b", occurred_at=moment(EVENING)), point("c", occurred_at=beginning(TOMORROW))])

    assert count(outbox, "day") == {(TODAY,): 1, (TOMORROW,): 2}


def test_days_of_registration(outbox, clock):
    """
    Registered points can be counted by the moment at which they were registered.
    """
    outbox.add([point("late"), point("deferred", succeeded=None)])
    clock.now += EVENING
    bring(outbox, State.REGISTERED, "late")

    assert count(outbox, "day", registered=True) == {(TOMORROW,): 1}


@pytest.mark.parametrize("prunes", [False, True])
@pytest.mark.parametrize("registered", [False, True])
def test_range(outbox, clock, prunes, registered):
    """
    A range begins with its first moment and ends before its last, for pruned points by whole days.
    """
    clock.now = beginning(TODAY).timestamp()
    for day in range(4):
        register(outbox, point(str(day), occurred_at=beginning(TODAY + timedelta(days=day))))
        clock.now += DAY
    if prunes:
        outbox.prune(0)
    since, until = beginning(TOMORROW), beginning(TODAY + timedelta(days=3))

    assert [
        count(outbox, registered=registered, **conditions)[()]
        for conditions in ({}, {"since": since}, {"until": until}, {"since": since, "until": until})
    ] == [4, 3, 3, 2]
    assert count(outbox, since=since + timedelta(seconds=1), until=until + timedelta(seconds=1))[()] == 2


def test_pruned_points_are_counted(outbox, clock):
    """
    Pruning changes no total: of no group, by neither day, in however many steps.
    """
    register(outbox, point("a"), point("b", host="https://myapp.com"), point("c"))
    register(outbox, point("d", event="web-render", occurred_at=moment(-DAY)), classification=None)
    clock.now += EVENING
    register(outbox, point("e"), point("f"), classification="word of a later version " * 4)
    questions = [(by, registered) for registered in (False, True) for by in [(), ("day",), DIMENSIONS]]
    before = [count(outbox, *by, registered=registered) for by, registered in questions]

    clock.now += 1
    assert outbox.prune(EVENING) == 4
    assert [count(outbox, *by, registered=registered) for by, registered in questions] == before
    assert [outbox.prune(0), outbox.prune(0), outbox.counts().registered] == [2, 0, 0]
    assert [count(outbox, *by, registered=registered) for by, registered in questions] == before


def test_long_classification_of_pruned_points(outbox, clock):
    """
    A classification that is longer than any known one is cut.
    """
    register(outbox, point("a"), classification="x" * 300)
    clock.now += 1
    outbox.prune(0)

    assert count(outbox, "classification") == {("x" * 100,): 1}


def test_prune_in_many_steps(outbox, clock):
    """
    More points than one step takes are all deleted, and all counted.
    """
    for number in range(3):
        register(outbox, *points(900, f"key{number}"))
    clock.now += 1

    assert outbox.prune(0) == 2_700
    assert count(outbox, "day", "event") == {(TODAY, "cloud-render"): 2_700}


def test_labels_and_keys(outbox, clock):
    """
    Labels that differ by case only, and licence keys, stay apart, also when points are pruned.
    """
    outbox.add([point("a", label="a"), point("b", label="A", key_fingerprint="f"), point("c", key_fingerprint="f")])
    outbox.update([claimed.register(REGISTRATION) for claimed in outbox.claim(3, lease=60, fingerprints=["f"])])
    before = count(outbox, "label", "key_fingerprint")
    clock.now += 1
    outbox.prune(0)

    assert before == count(outbox, "label", "key_fingerprint") == {("a", None): 1, ("A", "f"): 1, (None, "f"): 1}


def test_point_that_comes_back_after_it_was_pruned(outbox, clock):
    """
    A key that is forgotten makes a new point, which is counted, too.
    """
    for _ in range(2):
        register(outbox, point())
        clock.now += 1
        outbox.prune(0)

    assert count(outbox) == {(): 2}


class _CutError(Exception):
    pass


def test_prune_is_cut_short(table_outbox, clock, monkeypatch):
    """
    When a process ends between counting and deleting, neither has happened.
    """
    register(table_outbox, *points(3))
    clock.now += 1
    connection = table_outbox._connection
    transact = connection.transact

    def cut(work):
        def work_and_end(session):
            work(session)
            raise _CutError

        return transact(work_and_end)

    with monkeypatch.context() as patch:
        patch.setattr(connection, "transact", cut)
        if connection.database == "postgresql":
            assert table_outbox.prune(0) == 3  # one statement, which no one can cut
        else:
            with pytest.raises(_CutError):
                table_outbox.prune(0)
            assert table_outbox.counts().registered == 3
            assert count(table_outbox) == {(): 3}
    table_outbox.prune(0)

    assert (table_outbox.counts().registered, count(table_outbox)) == (0, {(): 3})


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request, place):
    """
    Give the URL of an empty store that processes share.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{place / 'outbox.sqlite3'}"
        return
    with new_databases(request.getfixturevalue(request.param)) as [url]:
        yield url


def test_processes_prune_at_once(url):
    """
    Points that processes prune at once, while others are killed at it, are deleted and counted once each.
    """
    deleted, counted = _programs.run("prune_at_once", url, 4, 6_000)[-1]

    assert (deleted, counted) == (0, 6_000)


def test_oldest_point(outbox, clock):
    """
    The oldest point is known, as a pruned one by its day.
    """
    before = outbox.oldest()
    register(outbox, point("a"), point("b", occurred_at=moment(-DAY)))
    oldest = outbox.oldest()
    clock.now += 1
    outbox.prune(0)
    outbox.add([point("c")])

    assert (before, oldest, outbox.oldest()) == (None, moment(-DAY), beginning(TODAY - timedelta(days=1)))


def test_confirm(outbox, clock):
    """
    Held points that the API has counted are registered since they were first sent, others stay as they are.
    """
    bring(outbox, State.HELD, "a", "b")
    bring(outbox, State.REJECTED, "c")
    clock.now += EVENING

    assert outbox.confirm(["a", "c", "unknown"]) == 1
    assert [outbox.get(key).state for key in "abc"] == [State.REGISTERED, State.HELD, State.REJECTED]
    assert (outbox.get("a").registration, outbox.get("a").last_error) == (Registration(None, None), None)
    assert count(outbox, "day", registered=True) == {(TODAY,): 1}

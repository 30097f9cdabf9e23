"""
What every outbox promises of looking at it, of time and of keeping house, as one suite over all stores.
"""

from __future__ import annotations

import pytest

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import (
    MAX_DELAY,
    MAX_ERROR_LENGTH,
    PAUSE_GRACE,
    Counts,
    MemoryOutbox,
    Outbox,
    Pause,
    State,
)
from remotion_licensing_integrations.points.point import Registration, utc_now
from tests.outbox._values import DAY, REGISTRATION, bring, claim, keys, moment, point, points, spoil


def test_counts(outbox):
    """
    Every state is counted, claimed points as pending, too.
    """
    for state in (State.REGISTERED, State.REJECTED, State.HELD):
        bring(outbox, state, state.value)
    outbox.add([point("new", occurred_at=moment(-5)), point("older", occurred_at=moment(-9)), point("newest")])
    outbox.add([point("open", succeeded=None), point("longer open", succeeded=None, occurred_at=moment(-7))])
    claim(outbox, 1)

    assert outbox.counts() == Counts(
        deferred=2,
        pending=3,
        claimed=1,
        registered=1,
        rejected=1,
        held=1,
        oldest_pending=moment(-9),
        oldest_deferred=moment(-7),
    )


def test_claims_that_ran_out_are_not_counted(outbox, clock):
    """
    A point whose lease is over is claimed by nobody.
    """
    outbox.add([point()])
    claim(outbox, lease=60)
    clock.now += 60

    assert (outbox.counts().claimed, outbox.get("key").claimed) == (0, False)


def test_now(outbox, clock):
    """
    A store tells the time that its due times go by.
    """
    clock.now += 60

    assert outbox.now() == moment(60)


def test_now_of_a_store_without_a_clock():
    """
    A store that says nothing of its clock goes by this machine's.
    """
    before = utc_now()

    assert before <= Outbox.now(MemoryOutbox()) <= utc_now()


def test_list(outbox):
    """
    The latest come first, of one state or of all, no more than asked for.
    """
    bring(outbox, State.HELD, "a", "b")
    outbox.add([point("c")])

    assert [
        keys(outbox.list(*arguments, limit=limit))
        for arguments, limit in [((), 100), ((State.HELD,), 100), ((), 2), ((State.REJECTED,), 100)]
    ] == [["c", "b", "a"], ["b", "a"], ["c", "b"], []]


def test_list_of_what_occurred_before(outbox):
    """
    Points can be listed up to a moment, which is left out itself.
    """
    outbox.add([point(str(second), occurred_at=moment(second)) for second in range(4)])
    outbox.add([point("open", succeeded=None, occurred_at=moment(1))])

    assert keys(outbox.list(before=moment(2))) == ["open", "1", "0"]
    assert keys(outbox.list(State.DEFERRED, before=moment(2))) == ["open"]
    assert keys(outbox.list(before=moment(2), limit=1)) == ["open"]


def test_list_by_conditions(outbox):
    """
    Points can be listed by event, host, classification and moment, and by several of these.
    """
    outbox.add(
        [point("a", host="https://a.example", label="x"), point("b", event="web-render", occurred_at=moment(60))]
    )
    outbox.update([claimed.register(REGISTRATION) for claimed in claim(outbox)])
    outbox.add([point("c", event="web-render", host="https://a.example", occurred_at=moment(120))])

    assert [
        keys(outbox.list(**conditions))
        for conditions in (
            {"event": "web-render"},
            {"host": "https://a.example"},
            {"label": "x"},
            {"classification": "billable"},
            {"since": moment(60)},
            {"event": "web-render", "host": "https://a.example", "since": moment(60), "before": moment(121)},
            {"state": State.REGISTERED, "event": "web-render", "classification": "billable", "before": moment(61)},
            {"classification": "development"},
            {"host": "100 % '"},
        )
    ] == [["c", "b"], ["c", "a"], ["a"], ["b", "a"], ["c", "b"], ["c"], ["b"], [], []]


def test_list_reads_on(outbox):
    """
    What follows a point is read on with its row, whatever was added or deleted in between.
    """
    bring(outbox, State.HELD, *(f"key-{index}" for index in range(5)))
    *_, last = outbox.list(limit=2)
    outbox.add([point("new")])
    outbox.discard(["key-3"])

    assert keys(outbox.list(below=last.row, limit=2)) == ["key-2", "key-1"]
    assert keys(outbox.list(State.HELD, below=last.row)) == ["key-2", "key-1", "key-0"]


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
    for state in (State.REGISTERED, State.REJECTED, State.HELD, State.DEFERRED):
        bring(outbox, state, state.value)
    clock.now += 100
    bring(outbox, State.REGISTERED, "young")
    outbox.add([point("pending")])

    assert [outbox.count_old(100), outbox.count_old(99)] == [0, 1]
    assert [outbox.prune(100), outbox.prune(99), outbox.prune(99)] == [0, 1, 0]
    assert keys(outbox.list()) == ["pending", "young", "deferred", "held", "rejected"]


def test_prune_says_how_far_it_is(outbox):
    """
    Who waits for the end of pruning hears of its steps.
    """
    steps = []
    bring(outbox, State.REGISTERED, "a", "b")

    assert outbox.prune(-1, on_step=steps.append) == sum(steps) == 2


def test_pruned_key_is_forgotten(outbox):
    """
    The key of a pruned point can be added again, and an old claim has no hold on it.
    """
    outbox.add([point()])
    [old] = claim(outbox)
    outbox.update([old.register(REGISTRATION)])
    outbox.prune(-1)
    outbox.add([point()])
    claim(outbox)

    assert outbox.update([old.register(REGISTRATION)]) == 0


def test_next_due(outbox, clock):
    """
    The wait is until the first pending point is due, a lease included.
    """
    waits = [outbox.next_due()]
    outbox.add(points(2))
    waits.append(outbox.next_due())
    first, _ = claim(outbox, lease=60)
    outbox.update([first.reschedule(20, "HTTP 500")])
    waits.append(outbox.next_due())
    clock.now += 25
    waits.append(outbox.next_due())
    outbox.update([claimed.register(REGISTRATION) for claimed in claim(outbox, lease=60)])

    assert [*waits, outbox.next_due()] == [None, 0, 20, 0, 35]


def test_clock_goes_back_a_day(outbox, clock):
    """
    What seems to be put off for longer than is ever done is due now, a claim included.
    """
    outbox.add(points(2))
    claim(outbox, 1)
    clock.now -= DAY

    assert outbox.next_due() == 0
    assert keys(claim(outbox)) == ["key-1", "key-0"]


def test_points_from_the_future_among_others(outbox, clock):
    """
    They neither wait for those that are due later nor push out those that are due.
    """
    outbox.add([point("future")])
    clock.now -= DAY
    outbox.add(points(2))
    [first] = claim(outbox, 1)
    outbox.update([first.reschedule(30, "HTTP 500")])

    assert keys(claim(outbox)) == ["key-1", "future"]
    assert outbox.next_due() == 30


@pytest.mark.parametrize("seconds", [DAY, -DAY, -MAX_DELAY, -1800])
def test_no_clock_makes_a_point_wait_long(outbox, clock, seconds):
    """
    However the clock jumps, a point is due within the longest delay.
    """
    outbox.add([point()])
    clock.now += seconds
    clock.now += outbox.next_due()

    assert keys(claim(outbox)) == ["key"]
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


@pytest.mark.parametrize(
    "text", ["\"double\" 'single'", "back\\slash \\n", "100 % :key %s %(key)s", "🎬 \x7f\t\r\n", "null"]
)
def test_texts_stay_as_they_are(outbox, text):
    """
    Nothing that a text may hold is read as part of a statement.
    """
    host = "".join(character for character in text if character.isprintable())
    outbox.add([point("a", host=host), point("b", host=host)])
    first, second = claim(outbox)
    outbox.update([first.reject(text), second.register(Registration(billable=None, classification=text))])
    outbox.pause(text, text, 60)

    assert outbox.get("a").point.host == host
    assert outbox.get("a").last_error == text
    assert Registration(billable=None, classification=text) == outbox.get("b").registration
    assert [(text, text)] == [(pause.deliverer, pause.reason) for pause in outbox.pauses()]


@pytest.mark.parametrize("key", ["key ", " key", "KEY"])
def test_keys_that_look_alike(outbox, key):
    """
    What a database may take for the same key is another one.
    """
    bring(outbox, State.HELD, "key")

    assert (outbox.get(key), outbox.retry([key]), outbox.discard([key])) == (None, 0, 0)


def test_unreadable_row_is_rejected(table_outbox):
    """
    A row that is no usage point does not stop the others, and becomes rejected.
    """
    table_outbox.add(points(3))
    spoil(table_outbox, "key-1")

    assert keys(claim(table_outbox)) == ["key-0", "key-2"]
    assert (table_outbox.counts().pending, table_outbox.counts().rejected) == (2, 1)
    assert claim(table_outbox) == []


def test_unreadable_row_says_why(table_outbox):
    """
    What is wrong with the row is noted, and seen when it can be read again.
    """
    table_outbox.add([point()])
    spoil(table_outbox, "key")
    claim(table_outbox)
    spoil(table_outbox, "key", value="'cloud-render'")
    stored = table_outbox.get("key")

    assert (stored.state, stored.attempts, stored.claimed) == (State.REJECTED, 1, False)
    assert stored.last_error.startswith("cannot be read: event: 'render-of-tomorrow'")


def test_unreadable_row_in_a_list(table_outbox, caplog):
    """
    A list leaves out what it cannot show, and says so in the log.
    """
    table_outbox.add(points(3))
    spoil(table_outbox, "key-1")

    assert keys(table_outbox.list(State.PENDING)) == ["key-2", "key-0"]
    assert [record.action for record in caplog.records] == ["point_unreadable"]


def test_unreadable_row_by_key(table_outbox):
    """
    Asked for by its key, an unreadable row is an error, not a missing point.
    """
    table_outbox.add([point()])
    spoil(table_outbox, "key")

    with pytest.raises(OutboxError, match="usage point key cannot be read: event: 'render-of-tomorrow'"):
        table_outbox.get("key")


def test_pause(outbox, clock):
    """
    A pause says who delivers nothing, why, since when and until when.
    """
    clock.now += 5
    outbox.pause("a", "HTTP 503", 30)

    assert outbox.pauses() == [Pause(deliverer="a", reason="HTTP 503", since=moment(5), until=moment(35))]


def test_renewed_pause(outbox, clock):
    """
    A pause that is noted again keeps the moment it began at; reason and end are the new ones.
    """
    outbox.pause("a", "HTTP 503", 30)
    clock.now += 30 + PAUSE_GRACE - 1
    outbox.pause("a", "no answer", 60)

    assert outbox.pauses() == [
        Pause(deliverer="a", reason="no answer", since=moment(), until=moment(90 + PAUSE_GRACE - 1))
    ]


def test_pause_that_is_not_renewed(outbox, clock):
    """
    A pause of a deliverer that is gone is void, and does not lengthen a later one of the same name.
    """
    outbox.pause("a", "HTTP 503", 30)
    clock.now += 30 + PAUSE_GRACE
    before = outbox.pauses()
    outbox.pause("a", "HTTP 503", 30)

    assert before == []
    assert [pause.since for pause in outbox.pauses()] == [moment(30 + PAUSE_GRACE)]


def test_pauses_of_two_deliverers(outbox, clock):
    """
    Each deliverer has a pause, the longest first, and resumes alone; names differ by case, too.
    """
    outbox.pause("b", "HTTP 503", 100)
    clock.now += 1
    outbox.pause("a", "HTTP 429", 100)
    outbox.pause("A", "HTTP 429", 100)
    both = [pause.deliverer for pause in outbox.pauses()]
    outbox.resume("b")
    outbox.resume("A")

    assert both == ["b", "A", "a"]
    assert [pause.deliverer for pause in outbox.pauses()] == ["a"]


def test_resume_of_an_unknown_deliverer(outbox):
    """
    A deliverer that was never paused can resume.
    """
    outbox.resume("a")

    assert outbox.pauses() == []


def test_long_texts_of_a_pause(outbox):
    """
    Name and reason of a pause are cut, and a cut name still resumes.
    """
    outbox.pause("a" * 2000, "\ud800\0" * 2000, 30)
    [pause] = outbox.pauses()
    outbox.resume("a" * 2000)

    assert (len(pause.deliverer), len(pause.reason)) == (MAX_ERROR_LENGTH, MAX_ERROR_LENGTH)
    assert outbox.pauses() == []


def test_open_outbox_exists(outbox):
    """
    What has been opened is there, and stays when it is closed.
    """
    outbox.open()
    outbox.close()

    assert outbox.exists()


def test_close_and_use_again(outbox):
    """
    A closed outbox opens by itself, with everything in it; closing twice and opening twice are no trouble.
    """
    outbox.open()
    outbox.open()
    outbox.add([point()])
    outbox.close()
    outbox.close()

    assert keys(claim(outbox)) == ["key"]

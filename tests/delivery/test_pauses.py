"""
Pauses in the outbox, where every process sees why another one delivers nothing.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from tests._delivery import OK, Rig, answer

BAD_KEY = answer(401, b'{"error":"Invalid API key"}')


def pauses(it: Rig) -> list[tuple[str, float, float]]:
    """
    Return the reasons of all pauses, the seconds since each began, and the seconds until each is probed.
    """
    return [
        (pause.reason, it.clock.now - pause.since.timestamp(), pause.until.timestamp() - it.clock.now)
        for pause in it.outbox.pauses()
    ]


def test_pause_is_noted(rig) -> None:
    """
    A pause is in the outbox with its reason and the time of its probe.
    """
    it = rig(answer(429, b'{"error":"slow down"}', retry_after="50"), points=50, concurrency=8)
    it.deliver()

    assert pauses(it) == [("the licensing API asked us to wait. ThrottledError: HTTP 429: slow down", 0, 50)]


def test_deliverer_is_named(rig) -> None:
    """
    The name of a deliverer tells its machine and process; two in one process have two names.
    """
    it = rig(BAD_KEY)
    other = it.new_deliverer()
    it.deliver()
    it.clock.now += 1
    other.deliver()
    names = [pause.deliverer for pause in it.outbox.pauses()]
    other.close()

    assert len(set(names)) == 2
    assert all(name.startswith(f"{socket.gethostname()}-{os.getpid()}-") for name in names)


def test_failed_probe_renews_the_note(rig) -> None:
    """
    Each failed probe notes the next one; the moment since when delivery is paused stays.
    """
    it = rig(BAD_KEY, uniform=lambda *_: 1.0)
    it.deliver()
    it.clock.now += 30
    it.deliver()

    assert [(since, until) for _, since, until in pauses(it)] == [(30, 60)]


def test_success_ends_the_note(rig) -> None:
    """
    When delivery goes on, nothing says any more that it is paused.
    """
    it = rig(BAD_KEY, OK)
    it.deliver()
    it.clock.now += it.deliverer.pause_seconds
    it.deliver()

    assert pauses(it) == []


def test_close_ends_the_note(rig) -> None:
    """
    A deliverer that ends leaves no note.
    """
    it = rig(BAD_KEY)
    it.deliver()
    it.deliverer.close()

    assert pauses(it) == []


def test_killed_deliverer(rig) -> None:
    """
    The note of a deliverer that does not renew it, because its process was killed, becomes void.
    """
    it = rig(BAD_KEY)
    it.deliver()
    it.clock.now += it.deliverer.pause_seconds + 60

    assert pauses(it) == []


def test_slow_probe(rig) -> None:
    """
    While a probe takes as long as `timeout` allows, the pause is still noted, since its beginning.
    """
    it = rig(BAD_KEY, timeout=600, lease=1_800, uniform=lambda *_: 1.0)
    it.deliver()
    it.clock.now += it.deliverer.pause_seconds
    seen = []

    def answer_late(body: dict[str, Any]) -> Any:
        it.clock.now += 600
        seen.extend(pauses(it))
        return BAD_KEY(body)

    it.api.replies = [answer_late]
    it.deliver()

    assert [since for _, since, _ in seen] == [630]


def test_refused_note_of_a_probe(rig) -> None:
    """
    A store that refuses to renew the note stops no probe.
    """
    it = rig(BAD_KEY, OK)
    it.deliver()
    it.clock.now += it.deliverer.pause_seconds
    it.outbox.refuses = frozenset({"pause"})

    assert it.deliver() == 1


def test_close_waits_for_no_store(rig) -> None:
    """
    While another thread delivers, closing leaves the note to become void.
    """
    it = rig(BAD_KEY)
    it.deliver()
    claim = it.outbox.claim

    def close_and_claim(limit: int, **options: Any) -> Any:
        it.deliverer.close()
        return claim(limit, **options)

    it.outbox.claim = close_and_claim
    it.clock.now += it.deliverer.pause_seconds
    it.deliver()

    assert len(pauses(it)) == 1


def test_nothing_is_noted_for_each_point(rig) -> None:
    """
    Points that are delivered cost no note, and a pause costs one, however many points it stops.
    """
    it = rig(points=20, concurrency=8)
    it.deliver()
    it.api.replies = [BAD_KEY]
    it.add(*(f"stopped {number}" for number in range(20)))
    for _ in range(3):
        it.deliver()

    assert [name for name in it.outbox.calls if name in {"pause", "resume"}] == ["pause"]


def test_refused_note(rig) -> None:
    """
    A store that refuses the note of a pause disturbs no delivery, and is asked again at the next chance.
    """
    it = rig(BAD_KEY)
    it.outbox.refuses = frozenset({"pause"})

    assert (it.deliver(), pauses(it)) == (0, [])
    it.outbox.refuses = frozenset()
    it.deliver()
    assert len(pauses(it)) == 1


def test_refused_end_of_a_note(rig) -> None:
    """
    So does one that refuses to forget it.
    """
    it = rig(BAD_KEY, OK)
    it.deliver()
    it.outbox.refuses = frozenset({"resume"})
    it.clock.now += it.deliverer.pause_seconds

    assert (it.deliver(), len(pauses(it))) == (1, 1)
    it.outbox.refuses = frozenset()
    it.deliver()
    assert pauses(it) == []


def test_refused_note_at_the_end(rig) -> None:
    """
    Nor does it keep a deliverer from ending.
    """
    it = rig(BAD_KEY)
    it.deliver()
    it.outbox.refuses = frozenset({"resume"})
    it.deliverer.close()

    assert len(pauses(it)) == 1

"""
What an app is told of its points, and that it can break nothing.
"""

from __future__ import annotations

from typing import Any

from remotion_licensing_integrations import Settings, UsageRecorder
from remotion_licensing_integrations.delivery.deliverer import Deliverer
from remotion_licensing_integrations.outbox import MemoryOutbox, State
from tests._delivery import KEY, OK, REFUSAL, Api, Rig, answer
from tests._outboxes import new_point

REJECTED = answer(400, REFUSAL)
REFUSED_KEY = answer(401, b'{"success":false,"error":"Invalid API key"}')


class HookedRig(Rig):
    """
    A rig that notes what its hooks are told; they raise when they are `broken`.
    """

    broken = False

    def __init__(self, *replies: Any, **options: Any) -> None:
        self.told: list[tuple[str, ...]] = []
        super().__init__(*replies, **options)

    def new_deliverer(self, **_: Any) -> Deliverer:
        """
        Return one more deliverer of the same store, with hooks.
        """
        hooks: Any = {
            "on_registered": lambda point, answer: self._note("registered", point, answer.classification),
            "on_rejected": lambda point, reason: self._note("rejected", point, reason),
            "on_paused": lambda reason: self._note("paused", None, reason),
        }
        return Deliverer(self.outbox, self.settings, hooks=hooks, **self._options)

    def _note(self, what: str, point: Any, text: str) -> None:
        if point is not None:
            assert self.get(point.idempotency_key).state != State.PENDING
        self.told.append((what, *([point.idempotency_key] if point else []), text))
        if self.broken:
            raise RuntimeError(what)


def test_registered_points_are_told_once():
    """
    Each registered point is told once, with the API's answer, when the outbox has stored it.
    """
    rig = HookedRig(points=3)
    rig.deliver()
    rig.deliver()

    assert sorted(rig.told) == [("registered", str(key), "billable") for key in range(3)]


def test_a_rejected_point_is_told_with_its_reason():
    """
    A point that the API refuses for good is told with what the API said.
    """
    rig = HookedRig(REJECTED)
    rig.deliver()

    [(what, key, reason)] = rig.told
    assert (what, key) == ("rejected", "0")
    assert "no such event" in reason


def test_a_pause_is_told_once():
    """
    A pause is told when it begins, not at each probe; one that begins later is told again.
    """
    rig = HookedRig(REFUSED_KEY, REFUSED_KEY, REFUSED_KEY, OK, REFUSED_KEY, points=2)
    rig.run(300)

    assert [what for what, *_ in rig.told] == ["paused", "registered", "paused"]


def test_a_broken_hook_is_logged_once(caplog):
    """
    What a hook raises stops nothing, and is logged once.
    """
    rig = HookedRig(points=3)
    rig.broken = True

    assert rig.deliver() == 3
    assert [record.action for record in caplog.records] == ["hook_failed"]


def test_without_hooks_nothing_is_told(caplog):
    """
    A deliverer without hooks does the same, silently.
    """
    rig = Rig(OK, REFUSED_KEY, points=2)
    rig.deliver()

    assert "hook_failed" not in [record.action for record in caplog.records]


def test_a_change_that_came_too_late_is_not_told():
    """
    When another deliverer has claimed a point since, that one tells what becomes of it; the others are told.
    """
    rig = HookedRig(points=2)
    late = rig.outbox.update

    def update(changes: Any) -> int:
        rig.outbox.update = late
        rig.clock.now += 61
        [again] = rig.outbox.claim(1, lease=60)
        assert again.point.idempotency_key in {change.claimed.point.idempotency_key for change in changes}
        return late(changes)

    rig.outbox.update = update
    rig.deliver()

    keys = [key for _, key, _ in rig.told]
    assert len(keys) == len(set(keys))
    assert {rig.get(key).state for key in keys} == {State.REGISTERED}


def test_a_store_that_refuses_to_say_tells_nothing():
    """
    When the store does not say whether a late change took effect, it is not told.
    """
    rig = HookedRig()
    update = rig.outbox.update
    rig.outbox.update = lambda changes: update(changes) and 0
    rig.outbox.refuses = frozenset({"get"})

    rig.deliver()
    assert rig.told == []


def test_a_recorder_takes_hooks():
    """
    A recorder calls the hooks that it was made with.
    """
    told = []
    settings = Settings(license_key=KEY, base_url="http://api.test", delivery="external")
    recorder = UsageRecorder(
        settings,
        outbox=MemoryOutbox(),
        transport=Api(OK).transport,
        on_registered=lambda point, answer: told.append((point.event, answer.billable)),
    )
    recorder.outbox.add([new_point()])
    recorder.deliver()
    recorder.stop()

    assert told == [("cloud-render", True)]


def test_attempts_are_counted():
    """
    What was sent is counted by event and result, and what the API took by its classification.
    """
    rig = Rig(OK, REJECTED, answer(500, b"no"), OK, points=3)
    rig.deliver()

    assert rig.deliverer.teller.attempts == {
        ("cloud-render", "registered"): 1,
        ("cloud-render", "rejected"): 1,
        ("cloud-render", "failed"): 1,
    }
    assert rig.deliverer.teller.registered == {("cloud-render", "billable"): 1}

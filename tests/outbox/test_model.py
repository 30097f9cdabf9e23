"""
Each store does step by step what the memory store does.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import astuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from remotion_licensing_integrations.outbox import MAX_DELAY, MemoryOutbox, SQLOutbox, State
from remotion_licensing_integrations.points.point import Registration
from tests._server_outbox import empty
from tests.outbox._values import DAY, Clock, moment, point
from tests.outbox.conftest import STORES

FINGERPRINTS = st.lists(st.sampled_from("ab"), unique=True)
KEYS = st.lists(st.integers(0, 9).map(str), max_size=6)
SECONDS = st.sampled_from([0.0, 1.0, 30.5, 60.0, 3600.0, MAX_DELAY, MAX_DELAY + 1, DAY])
CHANGES = st.sampled_from(
    [
        lambda claimed, delay: claimed.register(Registration(billable=delay > 0, classification=None)),
        lambda claimed, delay: claimed.register(Registration(billable=None, classification="new\0")),
        lambda claimed, delay: claimed.reschedule(delay, "HTTP 500"),
        lambda claimed, delay: claimed.reschedule(delay, "timeout", unanswered=True),
        lambda claimed, delay: claimed.reject("no" * 400),
        lambda claimed, delay: claimed.hold("who knows", unanswered=True),
        lambda claimed, delay: claimed.release(delay=delay),
        lambda claimed, delay: claimed.release("\ud800"),
    ]
)


class Stores(RuleBasedStateMachine):
    """
    Two stores under one clock.
    """

    def __init__(self, new_store):
        super().__init__()
        self.clock = Clock()
        self.model = MemoryOutbox(clock=self.clock)
        self.context = ExitStack()
        self.store = self.context.enter_context(new_store(self.clock))
        if isinstance(self.store, SQLOutbox):
            empty(self.store)
        self.claims = []

    def teardown(self):
        """
        Leave nothing behind.
        """
        self.context.close()

    @rule(keys=KEYS, succeeded=st.sampled_from([True, False, None]), fingerprint=st.sampled_from(["a", "b", None]))
    def add(self, keys, succeeded, fingerprint):
        """
        Both take the same points, finished or deferred.
        """
        values = {
            "succeeded": succeeded,
            "key_fingerprint": fingerprint,
            "label": fingerprint,
        }
        for outbox in (self.model, self.store):
            outbox.add(
                [point(key, occurred_at=moment(-int(key)), is_still=int(key) % 2 == 0, **values) for key in keys]
            )

    @rule(seconds=SECONDS, sign=st.sampled_from([1, 1, -1]))
    def turn_clock(self, seconds, sign):
        """
        Time passes, or is corrected.
        """
        self.clock.now += sign * seconds

    @rule(limit=st.integers(0, 5), lease=SECONDS, fingerprints=FINGERPRINTS)
    def claim(self, limit, lease, fingerprints):
        """
        Both claims get the same points, in the same order.
        """
        expected, found = (
            outbox.claim(limit, lease=lease, fingerprints=fingerprints) for outbox in (self.model, self.store)
        )
        assert [astuple(claimed)[2:] for claimed in expected] == [astuple(claimed)[2:] for claimed in found]
        self.claims += zip(expected, found, strict=True)

    @rule(data=st.data(), delay=SECONDS)
    def write(self, data, delay):
        """
        As many changes take effect, of claims old and new.
        """
        claims = data.draw(st.lists(st.sampled_from(self.claims), max_size=4)) if self.claims else []
        changes = [(data.draw(CHANGES), pair) for pair in claims]
        expected = self.model.update([change(pair[0], delay) for change, pair in changes])
        assert expected == self.store.update([change(pair[1], delay) for change, pair in changes])

    @rule(keys=st.none() | KEYS)
    def retry(self, keys):
        """
        As many points are retried.
        """
        assert self.model.retry(keys) == self.store.retry(keys)

    @rule(keys=KEYS)
    def discard(self, keys):
        """
        As many points are discarded.
        """
        assert self.model.discard(keys) == self.store.discard(keys)

    @rule(seconds=SECONDS)
    def prune(self, seconds):
        """
        As many points are deleted.
        """
        assert self.model.count_old(seconds) == self.store.count_old(seconds)
        assert self.model.prune(seconds) == self.store.prune(seconds)

    @rule(deliverer=st.sampled_from("ab"), seconds=SECONDS)
    def pause(self, deliverer, seconds):
        """
        Both note the pause.
        """
        for outbox in (self.model, self.store):
            outbox.pause(deliverer, f"for {seconds} s", seconds)

    @rule(deliverer=st.sampled_from("ab"))
    def resume(self, deliverer):
        """
        Both forget the pause.
        """
        for outbox in (self.model, self.store):
            outbox.resume(deliverer)

    @rule()
    def close(self):
        """
        Closing changes nothing.
        """
        self.store.close()

    @rule(state=st.none() | st.sampled_from(State), limit=st.integers(0, 5))
    def list_some(self, state, limit):
        """
        Both list the same.
        """
        assert self.model.list(state, limit=limit) == self.store.list(state, limit=limit)

    @invariant()
    def they_hold_the_same(self):
        """
        After each step both stores hold the same.
        """
        assert self.model.list() == self.store.list()
        assert self.model.counts() == self.store.counts()
        for fingerprints in ("", "a", "ab"):
            assert self.model.next_due(fingerprints) == self.store.next_due(fingerprints)
        assert self.model.pauses() == self.store.pauses()


@pytest.mark.parametrize("name", [name for name in STORES if name != "memory"])
def test_does_what_the_memory_store_does(name, request):
    """
    Step by step, whatever is asked of it, a store holds what the memory store does.
    """
    run_state_machine_as_test(
        lambda: Stores(lambda clock: STORES[name](request, clock)),
        settings=settings(
            max_examples=60 if name == "sqlite" else 10,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            database=None,
        ),
    )

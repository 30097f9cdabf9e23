"""
Deliver what is due: claim points, have them registered, store what each result means.

What a result means is in `verdicts`, whether delivery goes on in `pace`, how many points it claims in `stock`, and how
much of a busy process it takes in `courtesy`.
"""

from __future__ import annotations

import math
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from ..errors import OutboxError
from ..outbox import Change, Outbox, State, ignore
from ..settings import LicenseKeys, Settings
from .courtesy import Courtesy
from .hooks import Hooks, Teller
from .pace import Pace
from .senders import SenderPool
from .stock import Stock
from .verdicts import Judge

_MOMENT: Final = 0.01  # seconds


class Deliverer:
    """
    Registers the points of *outbox* with the licensing API, up to `settings.concurrency` at a time.

    It keeps sender threads with open connections until `close()`. Points for a licence key that it does not have stay
    in the outbox.

    Args:
        keys: Defaults to those that *settings* name.
        transport: Replaces the network in tests.
        hooks: What to call when the outbox has stored a result.
        pace: That of an earlier deliverer, to go on with its pause.
        monotonic: Clock of pauses and time limits, in seconds.
        clock: The current time in epoch seconds.
        uniform: Draws a number between two bounds.
        on_step: Called with the number of points that each commit made registered, from the thread that delivers.

    Attributes:
        teller: Calls the hooks, and has counted what they tell.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: Settings,
        *,
        keys: LicenseKeys | None = None,
        transport: Any = None,
        hooks: Hooks | None = None,
        pace: Pace | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
        uniform: Callable[[float, float], float] = random.uniform,
        on_step: Callable[[int], object] = ignore,
    ) -> None:
        self._on_step = on_step
        self._outbox = outbox
        self._settings = settings
        self._monotonic = monotonic
        self._clock = clock
        self._keys = LicenseKeys(settings, monotonic=monotonic) if keys is None else keys
        self._senders = SenderPool(settings, self._keys, transport, clock=clock)
        self.teller: Teller = Teller(outbox, hooks or {})
        self._turn = threading.Lock()
        self._wanted = False
        self._pace = pace or Pace(settings.concurrency, monotonic=monotonic, uniform=uniform)
        self._judge = Judge(settings, self._pace, clock=clock, uniform=uniform)
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._noted_pause: tuple[str, float] | None = None
        self._courtesy = Courtesy()
        self._stock = Stock(monotonic=monotonic)
        self._own_cpu = 0.0
        self._oldest = math.inf
        self._in_flight = 0
        self._changes: list[Change] = []
        self._pass_ends = math.inf
        self._finish_at = math.inf
        self._finishing = threading.Event()

    @property
    def pause_reason(self) -> str | None:
        """
        Why delivery is paused, or `None`.
        """
        return self._pace.reason

    def next_due(self) -> float | None:
        """
        Return the seconds until a point is due that this deliverer sends, or `None`.

        Raises:
            OutboxError: The store refuses.
        """
        return self._outbox.next_due(self._keys.fingerprints)

    @property
    def pause_seconds(self) -> float:
        """
        Seconds until the pause is probed; 0 without one.
        """
        return self._pace.seconds

    @property
    def awaits_key(self) -> bool:
        """
        Whether a pause may end before its time, with another licence key.
        """
        return self._pace.is_paused and self._pace.is_key_refused and self._keys.can_change

    def deliver(self, timeout: float | None = None, *, gives_way: bool = False) -> int:
        """
        Deliver until nothing is due, a pause begins, or the time is over; unsent points then go back.

        One thread delivers at a time; it also delivers for the others, which return at once.

        Args:
            timeout: Seconds; `finish_within` may shorten it.
            gives_way: Whether to take a small share of the core while the process is busy with other work.

        Returns:
            How many points were registered.

        Raises:
            OutboxError: The store refuses; claimed points come back when their lease ends.
        """
        ends = math.inf if timeout is None else self._monotonic() + timeout
        registered = 0
        self._wanted = True
        # Checked again after each turn: another thread may have called too late for this turn.
        while self._wanted and self._turn.acquire(blocking=False):
            try:
                self._wanted = False
                self._pass_ends = ends
                registered += self._pass(gives_way=gives_way)
            finally:
                self._turn.release()
        return registered

    def finish_within(self, timeout: float) -> None:
        """
        End every `deliver`, also one under way, within *timeout* seconds from now; callable from any thread.
        """
        self._finish_at = self._monotonic() + timeout
        self._finishing.set()
        self._senders.wake()

    def close(self) -> None:
        """
        End the sender threads without waiting for answers, and forget a pause noted in the outbox.
        """
        self._senders.close()
        # Not while a thread delivers, which may wait for the store: a pause that is not renewed becomes void.
        if self._noted_pause and self._turn.acquire(blocking=False):
            with suppress(OutboxError):
                self._outbox.resume(self._name)
            self._noted_pause = None
            self._turn.release()

    def _pass(self, *, gives_way: bool) -> int:
        # First store what an earlier pass has left, before another deliverer claims these points.
        registered = self._store(0)
        # Any other pause has another cause.
        if self._keys.refresh():
            self._pace.note_key()
        self._stock.begin()
        began = time.thread_time() - self._own_cpu
        while self._remaining() and (((not gives_way or self._give_way(began)) and self._claim()) or self._in_flight):
            registered += self._store(self._remaining() if self._in_flight else 0)
        self._own_cpu = time.thread_time() - began
        return registered

    def _give_way(self, began: float) -> bool:
        is_behind = self._clock() - self._oldest > self._settings.max_lag
        spent = self._senders.cpu_seconds + time.thread_time() - began
        wait = self._courtesy.wait(spent, is_behind=is_behind)
        if wait and not self._in_flight:
            self._finishing.wait(wait)
        return not (wait and self._in_flight)

    def _claim(self) -> bool:
        # A probe is a single point.
        stock = 1 if self._pace.is_paused else self._stock.size(self._pace.window, is_busy=self._courtesy.is_busy)
        if self._in_flight > stock // 2 or self._pace.seconds:
            return False
        begin_by = self._clock() + self._settings.lease - self._settings.timeout
        claimed = self._outbox.claim(
            stock - self._in_flight, lease=self._settings.lease, fingerprints=self._keys.fingerprints
        )
        unsafe = {point: change for point in claimed if (change := self._judge.hold_unsafe(point)) is not None}
        self._changes += unsafe.values()
        self._oldest = min((point.point.occurred_at.timestamp() for point in claimed), default=math.inf)
        safe = [point for point in claimed if point not in unsafe]
        threads = min(self._pace.window, self._in_flight + len(safe))
        if self._pace.reason is not None and safe:
            self._renew_note(self._pace.reason)
        self._senders.send(safe, begin_by=begin_by, threads=threads)
        self._in_flight += len(safe)
        return bool(claimed)

    def _store(self, timeout: float) -> int:
        self._collect(timeout)
        if self._in_flight and self._changes:
            # One commit for all results of a moment: each keeps the store from requests that record.
            self._finishing.wait(_MOMENT)
            self._collect(0)
        # Kept until the store takes them: a point whose result is lost is sent again.
        in_effect = self._outbox.update(self._changes) if self._changes else 0
        changes, self._changes = self._changes, []
        registered = sum(change.state is State.REGISTERED for change in changes)
        self._on_step(registered)
        self._note_pause()
        self.teller.tell(changes, in_effect)
        self.teller.tell_pause(self._pace.reason)
        return registered

    def _collect(self, timeout: float) -> None:
        results = self._senders.results(timeout)
        self._in_flight -= len(results)
        self._stock.note(len(results))
        self._changes += [self._judge.judge(claimed, result) for claimed, result in results]
        if self._pace.is_paused or not self._remaining():
            unsent = self._senders.take_back()
            self._in_flight -= len(unsent)
            self._changes.extend(claimed.release() for claimed in unsent)

    def _note_pause(self) -> None:
        # An operator may ask another process, which does not know about this pause.
        pause = (self._pace.reason, self._pace.until) if self._pace.reason is not None else None
        if pause == self._noted_pause:
            return
        # When the store refuses, the next results try again; the pause holds without a note.
        with suppress(OutboxError):
            if pause is None:
                self._outbox.resume(self._name)
            else:
                self._outbox.pause(self._name, pause[0], self._pace.seconds)
            self._noted_pause = pause

    def _renew_note(self, reason: str) -> None:
        # A probe may take longer than `PAUSE_GRACE`; until it is answered, the pause lasts
        # (tests/delivery/test_pauses.py::test_slow_probe).
        with suppress(OutboxError):
            self._outbox.pause(self._name, reason, self._settings.timeout)

    def _remaining(self) -> float:
        return max(0.0, min(self._pass_ends, self._finish_at) - self._monotonic())

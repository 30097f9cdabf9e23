"""
Makes the events of a plan happen.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from .plan import Event
from .site import Site
from .stores import Store


class Conductor:
    """
    Makes *events* happen to *site* and *store*, an outage beside the others.

    Attributes:
        done: How often what happened.
    """

    def __init__(self, events: Iterable[Event], site: Site, store: Store) -> None:
        self.done: Counter[str] = Counter()
        self._events = deque(events)
        self._site = site
        self._store = store
        self._outages = ThreadPoolExecutor(1)
        self._futures: list[Future[None]] = []

    def advance(self, progress: float) -> None:
        """
        Make happen what is due when this part of the soak is over.
        """
        while self._events and self._events[0].at <= progress:
            self._happen(self._events.popleft())

    def finish(self) -> None:
        """
        Wait for the end of all outages, and set the clock right.
        """
        self._outages.shutdown()
        for future in self._futures:
            future.result()
        self._site.set_clock(0)

    def _happen(self, event: Event) -> None:
        match event.what:
            case "worker":
                self.done["workers killed"] += self._site.kill_worker(event.value)
            case "deliverer":
                self.done["deliverers killed"] += self._site.kill_deliverer()
            case "clock":
                self._site.set_clock(event.value)
                self.done["clock jumps"] += 1
            case _:
                self._futures.append(self._outages.submit(self._break, event.value))

    def _break(self, seconds: float) -> None:
        if self._store.fail is None:
            return
        self._store.fail()
        try:
            threading.Event().wait(seconds)
            # What the workers have in memory only does not outlive the outage.
            self.done["workers killed"] += self._site.kill_workers()
        finally:
            self._store.recover()
        self.done["outages"] += 1

"""
A deliverer with a store, clocks and a licensing API that do what a test says.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from remotion_licensing_integrations.api import http as _http
from remotion_licensing_integrations.delivery.deliverer import Deliverer
from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import MemoryOutbox, State
from remotion_licensing_integrations.points.point import UsagePoint
from remotion_licensing_integrations.settings import Settings

KEY = "rm_pub_4bZ0kQ"
SUCCESS = b'{"success":true,"billable":true,"classification":"billable"}'
REFUSAL = b'{"success":false,"error":"no such event"}'
START = 1_900_000_000.0  # epoch seconds
PATIENCE = 10  # seconds that a test waits for what must happen

#: What the API makes of one request: an answer, or an exception for none.
Reply = Callable[[dict[str, Any]], Any]


def answer(status: int = 200, body: bytes = SUCCESS, **headers: str) -> Reply:
    """
    Answer so; `retry_after="5"` becomes the header `retry-after`.
    """
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: _http.httpx.Response(status, content=body, headers=fields)


def failure(name: str = "ConnectError") -> Reply:
    """
    Fail with the HTTP library's error of this name.
    """

    def reply(_: dict[str, Any]) -> Any:
        raise getattr(_http.httpx, name)("scripted")

    return reply


OK = answer()
DOWN = failure()
NO_ANSWER = failure("ReadTimeout")


class Clock:
    """
    A clock that moves when it is told to.
    """

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Api:
    """
    Gives each request its reply, repeating the last; `replies` may be exchanged at any time.

    Attributes:
        bodies: What was sent, in order of arrival.
        most: The highest number of requests at a time.
    """

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies or [OK])
        self.bodies: list[dict[str, Any]] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self.transport = _http.httpx.MockTransport(self._handle)

    @property
    def keys(self) -> list[str]:
        return [body["idempotencyKey"] for body in self.bodies]

    def _handle(self, request: Any) -> Any:
        body = json.loads(request.content)
        with self._lock:
            self.bodies.append(body)
            self._now += 1
            self.most = max(self.most, self._now)
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        try:
            return reply(body)
        finally:
            with self._lock:
                self._now -= 1


class RefusingOutbox(MemoryOutbox):
    """
    Raises `OutboxError` from the methods named in `refuses`.

    Attributes:
        calls: The names of the methods that were called.
    """

    refuses: frozenset[str] = frozenset()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: list[str] = []

    def _check(self, name: str) -> None:
        self.calls.append(name)
        if name in self.refuses:
            msg = "the disk is full"
            raise OutboxError(msg)

    def open(self) -> None:
        self._check("open")

    def add(self, points: Any) -> None:
        self._check("add")
        super().add(points)

    def claim(self, limit: int, **options: Any) -> Any:
        self._check("claim")
        return super().claim(limit, **options)

    def update(self, changes: Any) -> int:
        self._check("update")
        return super().update(changes)

    def get(self, idempotency_key: str) -> Any:
        self._check("get")
        return super().get(idempotency_key)

    def counts(self) -> Any:
        self._check("counts")
        return super().counts()

    def pause(self, deliverer: str, reason: str, seconds: float) -> None:
        self._check("pause")
        super().pause(deliverer, reason, seconds)

    def resume(self, deliverer: str) -> None:
        self._check("resume")
        super().resume(deliverer)


class Rig:
    """
    A deliverer of points named `"0"`, `"1"`, … to an `Api`, under the test's clock.
    """

    def __init__(
        self, *replies: Reply, points: int = 1, uniform: Any = lambda _, high: high, clock: Any = None, **settings: Any
    ) -> None:
        self.api = Api(*replies)
        self.clock = Clock()
        self.outbox = RefusingOutbox(clock=self.clock)
        options = {"license_key": KEY, "base_url": "http://api.test", "concurrency": 1, **settings}
        self.settings = Settings(**options)
        self._options = {"transport": self.api.transport, "clock": self.clock, "uniform": uniform}
        self._options["monotonic"] = clock or self.clock
        self.deliverer = self.new_deliverer()
        self.add(*map(str, range(points)))

    def new_deliverer(self, **settings: Any) -> Deliverer:
        """
        Return one more deliverer of the same store.
        """
        options = {name: getattr(self.settings, name) for name in self.settings.__dataclass_fields__}
        return Deliverer(self.outbox, Settings(**{**options, **settings}), **self._options)

    def add(self, *keys: str) -> None:
        point = {"event": "cloud-render", "host": None, "succeeded": True}
        self.outbox.add([UsagePoint(idempotency_key=key, **point) for key in keys])

    def deliver(self) -> int:
        return self.deliverer.deliver()

    def run(self, seconds: float) -> None:
        """
        Do what the worker does for so long, jumping from one due time to the next.
        """
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.deliverer.deliver()
            waits = [self.deliverer.pause_seconds or self.outbox.next_due(), end - self.clock.now]
            self.clock.now += max(0.05, min(wait for wait in waits if wait is not None))

    def get(self, key: str = "0") -> Any:
        stored = self.outbox.get(key)
        assert stored is not None
        return stored

    def wait(self, key: str = "0") -> float:
        """
        Return the seconds until the point is due.
        """
        return self.get(key).due.timestamp() - self.clock.now

    def states(self) -> dict[str, int]:
        counts = self.outbox.counts()
        return {state: count for state in State if (count := getattr(counts, state))}

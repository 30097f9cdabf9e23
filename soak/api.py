"""
A licensing API that costs little, fails at random and remembers every key: `python -m soak.api PORT SEED KEYS`.

It counts a point by its idempotency key, as the real one does. Each piece of work has a host of its own, so that a
piece of work that comes with two keys, which the real one would count twice, is noticed.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.protocol import Requests

#: How often a request fails, by kind; of half of them the point is counted nevertheless.
FAILURES: Final = {"500": 0.03, "reset": 0.02, "hang": 0.005}
KEY_BYTES: Final = 16
#: Of so many pieces of work one is deferred first, and completed by the same request.
DEFERRED: Final = 10

_BODY: Final = b'{"success":true,"billable":true,"classification":"billable"}'


def to_host(work: int) -> str:
    """
    Return the host of a piece of work.
    """
    return f"https://w{work}.example"


def to_number(key: str) -> int:
    """
    Return an idempotency key, a UUID, as a number.
    """
    return int(key.replace("-", ""), 16)


class Ledger:
    """
    The key of each piece of work that was counted, and how often what happened.
    """

    def __init__(self, seed: int) -> None:
        self.is_well = False
        self._chance = random.Random(seed)
        self._keys: dict[int, int] = {}
        self._events: Counter[str] = Counter()

    def take(self, body: bytes) -> str | None:
        """
        Count the point of a request, or do not; return how the request fails, or `None`.
        """
        self._events["requests"] += 1
        failure = None if self.is_well else self._draw()
        if failure is not None:
            self._events[failure] += 1
        if failure is None or self._chance.random() < 1 / 2:
            fields = json.loads(body)
            self._count(int(fields["host"].removeprefix("https://w").removesuffix(".example")), fields)
        return failure

    def _draw(self) -> str | None:
        drawn = self._chance.random()
        for failure, share in FAILURES.items():
            drawn -= share
            if drawn < 0:
                return failure
        return None

    def _count(self, work: int, fields: dict[str, Any]) -> None:
        key = to_number(fields["idempotencyKey"])
        known = self._keys.get(work)
        if known is None:
            self._keys[work] = key
            self._events["registered"] += 1
        elif known == key:
            self._events["repeats"] += 1
        else:
            self._events["twice"] += 1
            print(f"counted twice: {to_host(work)} as {known:032x} and {key:032x}", flush=True)

    def counts(self) -> dict[str, int]:
        """
        Return how often what happened.
        """
        return dict(self._events)

    def save(self, file: Path) -> None:
        """
        Write all keys to *file*, `KEY_BYTES` each.
        """
        with file.open("wb") as keys:
            for key in self._keys.values():
                keys.write(key.to_bytes(KEY_BYTES, "big"))


class Exchange(Requests):
    """
    The requests of one connection.
    """

    def __init__(self, ledger: Ledger, keys: Path) -> None:
        super().__init__()
        self._ledger = ledger
        self._file = keys

    def answer(self, path: bytes, body: bytes) -> None:
        """
        Register a point, or do what the soak asks for.
        """
        if path.startswith(b"/api/"):
            self._register(body)
            return
        if path == b"/soak/well":
            self._ledger.is_well = True
        if path == b"/soak/save":
            self._ledger.save(self._file)
        self._send(json.dumps(self._ledger.counts()).encode())

    def _register(self, body: bytes) -> None:
        match self._ledger.take(body):
            case None:
                self._send(_BODY)
            case "500":
                self._send(b'{"success":false,"error":"Internal server error"}', "500 Internal Server Error")
            case "reset":
                # Lingering for zero seconds makes the kernel send RST, where a plain close sends FIN.
                linger = struct.pack("ii", 1, 0)
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.transport.abort()
            case _:
                pass  # until the client has enough

    def _send(self, body: bytes, status: str = "200 OK") -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def main() -> None:
    """
    Listen until killed.
    """
    port, seed, keys = sys.argv[1:]
    ledger = Ledger(int(seed))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Exchange(ledger, Path(keys)), "127.0.0.1", int(port), backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

"""
A psycopg connection that gives up on a silent server.
"""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg import capabilities
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

from ._dialect import MAX_SILENCE

_T = TypeVar("_T")

_CANCELLING: Final = 1.0  # seconds
_EVENTS: Final = {Wait.R: select.POLLIN, Wait.W: select.POLLOUT, Wait.RW: select.POLLIN | select.POLLOUT}


class BoundedConnection(psycopg.Connection[Any]):
    """
    Ends with an error when the server has not answered a statement within `MAX_SILENCE`.

    Neither the server's own timeouts nor those of TCP help against a server that is frozen: its kernel goes on.
    """

    def wait(self, gen: PQGen[_T], *_: object, **__: object) -> _T:
        """
        Run the steps of *gen*, which wait for the server in between.
        """
        try:
            return _run(gen, self.pgconn.socket)
        except TimeoutError:
            self._give_up()
            msg = f"no answer for {MAX_SILENCE} s"
            raise psycopg.OperationalError(msg) from None

    def _give_up(self) -> None:
        # What waits for a lock would keep one session busy for each try. Before libpq 17, to cancel may never end.
        if capabilities.has_cancel_safe():
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCELLING)
        self.close()


def _run(steps: PQGen[_T], socket: int) -> _T:
    give_up = time.monotonic() + MAX_SILENCE
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(_wait(socket, wanted, give_up - time.monotonic()))
    except StopIteration as end:
        result: _T = end.value
        return result


def _wait(socket: int, wanted: Wait, seconds: float) -> Ready:
    poll = select.poll()
    poll.register(socket, _EVENTS[wanted])
    found = poll.poll(max(0.0, 1_000 * seconds))
    if not found:
        raise TimeoutError
    # A connection that has broken is ready for both: the next step finds out.
    [(_, event)] = found
    return Ready((event != select.POLLOUT and Ready.R) | (event != select.POLLIN and Ready.W))

"""
Waiting for the outcome of what another thread does, in a thread or an event loop, and never longer than a bound.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from .writer import Notify

#: Begins some work, and has its outcome told by a callback from any thread.
Begin = Callable[[Notify], object]


def wait_for(begin: Begin, seconds: float) -> bool | None:
    """
    Begin, and return the outcome, or `None` when it has not come within so many *seconds*.
    """
    outcome: queue.SimpleQueue[bool] = queue.SimpleQueue()
    begin(outcome.put)
    try:
        return outcome.get(timeout=seconds)
    except queue.Empty:
        return None


async def await_for(begin: Begin, seconds: float) -> bool | None:
    """
    Same as `wait_for`, but lets the event loop run meanwhile.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return wait_for(begin, seconds)  # the loop of another library, which cannot be told
    outcome: asyncio.Future[bool | None] = loop.create_future()
    begin(partial(_resolve_soon, loop, outcome))
    bound = loop.call_later(seconds, _resolve, outcome, None)
    try:
        return await outcome
    finally:
        bound.cancel()


def _resolve_soon(loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[bool | None], value: bool) -> None:  # noqa: FBT001 - a callback
    with suppress(RuntimeError):  # the loop has closed; nobody waits any longer
        loop.call_soon_threadsafe(_resolve, outcome, value)


def _resolve(outcome: asyncio.Future[bool | None], value: bool | None) -> None:  # noqa: FBT001 - a callback
    if not outcome.done():
        outcome.set_result(value)

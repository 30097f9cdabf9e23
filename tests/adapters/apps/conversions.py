"""
What every app of the matrix converts; only the framework differs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

from remotion_licensing_integrations import current_usage
from remotion_licensing_integrations.recording import recorder

# On a busy machine a commit may take longer than a request waits.
recorder.COMMIT_WAIT = 30.0

FILE = __file__
LONG = b"video" * 100_000
STREAMS = ("stream", "broken", "endless")


def prepare(what: str) -> int:
    """
    Say what the app says of its conversion, and return the status of the response; or fail.
    """
    usage = current_usage()
    match what:
        case "crash":
            msg = "as planned"
            raise ValueError(msg)
        case "accepted" | "deferred":
            if what == "deferred":
                usage.defer()
            return 202
        case "skipped":
            usage.skip()
        case "failed":
            usage.succeeded = False
        case "keyed":
            usage.idempotency_key = "render-1"
    return int(what) if what.isdigit() else 200


def stream(what: str) -> Iterator[bytes]:
    """
    Yield a body whole, until it breaks, or without end.
    """
    yield b"vi"
    if what == "broken":
        msg = "as planned"
        raise ValueError(msg)
    while what == "endless":
        time.sleep(0.01)
        yield b"d" * 1000
    yield b"deo"


async def astream(what: str) -> AsyncIterator[bytes]:
    """
    Same as `stream`, for servers that consume synchronous bodies at once.
    """
    for part in stream(what):
        yield part
        await asyncio.sleep(0)

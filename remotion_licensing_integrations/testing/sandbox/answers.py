"""
The answers the sandbox can give: JSON like the licensing API's, and the ones that break on purpose.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import HTMLResponse, Response

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Receive, Scope, Send

    from .failures import Failure

#: The ASGI extension through which `server.py` lends the reset of a connection.
RESET: Final = "remotion_licensing.reset"

PROXY_PAGE: Final = "<!doctype html><title>Proxy</title><h1>Please sign in to this network</h1>\n"


class Json(Response):
    """
    A JSON answer in ASCII, so that a lone surrogate in a host cannot break it.
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """
        Return *content* as JSON.
        """
        return json.dumps(content).encode()


def error(status: int, text: str, *, headers: dict[str, str] | None = None) -> Json:
    """
    Return the licensing API's form of an error.
    """
    return Json({"success": False, "error": text}, status_code=status, headers=headers)


class Reset(Response):
    """
    Not an answer: a TCP reset.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """
        Reset the connection, and see it gone.
        """
        scope["extensions"][RESET]()
        await _disconnected(receive)


class Hang(Response):
    """
    Not an answer: silence until the client gives up or the server stops.
    """

    def __init__(self, stopping: asyncio.Event) -> None:
        super().__init__()
        self.stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Wait, then reset the connection.
        """
        await _first_of(_disconnected(receive), self.stopping.wait())
        await Reset()(scope, receive, send)


async def hold_back(failure: Failure, stopping: asyncio.Event) -> None:
    """
    Wait as long as *failure* holds answers back, or until the server stops.
    """
    if failure.latency_ms:
        await _first_of(asyncio.sleep(failure.latency_ms / 1000), stopping.wait())


def answer_instead(failure: Failure, stopping: asyncio.Event) -> Response:
    """
    Return what a request gets instead of the normal answer; `failure.mode` must be set.
    """
    match failure.mode:
        case "500":
            return error(500, "Internal server error")
        case "429":
            wait = failure.retry_after
            return error(429, "Too many requests", headers=None if wait is None else {"retry-after": str(wait)})
        case "key":
            return error(401, "Invalid API key")
        case "html":
            return HTMLResponse(PROXY_PAGE)
        case "hang":
            return Hang(stopping)
        case _:
            return Reset()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

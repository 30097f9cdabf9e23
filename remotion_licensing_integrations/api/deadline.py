"""
One time limit for a whole exchange with the licensing API.

Fault: the HTTP libraries' timeouts start anew with every read, so a server whose answer drips in holds a sender and its
point forever (`tests/api/test_http.py::test_deadline`: dripped headers, letters, hints and body).

Both libraries document an extension, `trace`, that hands out every network stream they open; there each operation gets
the remaining time as its timeout. The engine below them has a tidier place for this, its `network_backend`, but
the libraries' transports do not pass one on, and a transport built over the engine would have to repeat proxies, TLS
and the mapping of errors. For asynchronous exchanges an `asyncio.timeout` is enough; there the extension only tells how
far an exchange has come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import NoAnswerError, NotSentError, TransportError


class Deadline(threading.local):
    """
    The end of each thread's running exchange.

    Args:
        base_url: Where the API is, for messages.
        clock: In seconds.
    """

    def __init__(self, base_url: str, *, clock: Callable[[], float]) -> None:
        self._base_url = base_url
        self._clock = clock
        self._timeout = 0.0
        self._end = 0.0

    def start(self, timeout: float) -> None:
        """
        Give this thread's exchange *timeout* seconds from now.
        """
        self._timeout = timeout
        self._end = self._clock() + timeout

    def left(self, error: type[TransportError]) -> float:
        """
        Return the seconds left.

        Raises:
            TransportError: The time is over; its class is *error*.
        """
        left = self._end - self._clock()
        if left <= 0:
            raise error(too_late(self._base_url, self._timeout))
        return left

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """
        Bound the operations of each new network stream; the `trace` extension of a synchronous request.
        """
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            stream = info["return_value"]
            for name, positionals, error in _STREAM_OPERATIONS:
                setattr(stream, name, self._bounded(stream, getattr(stream, name), positionals, error))

    def _bounded(
        self, stream: Any, operation: Callable[..., Any], positionals: int, error: type[TransportError]
    ) -> Callable[..., Any]:
        def bounded(*args: Any, **kwargs: Any) -> Any:
            try:
                timeout = self.left(error)
            except TransportError:
                # The library leaves a stream open that fails before its TLS handshake.
                stream.close()
                raise
            return operation(*args[:positionals], **{**kwargs, "timeout": timeout})

        return bounded


#: Methods of the library's network stream, the arguments each has before `timeout`, and what their failure means.
_STREAM_OPERATIONS: Final = (
    ("read", 1, NoAnswerError),
    ("write", 1, NoAnswerError),
    ("start_tls", 2, NotSentError),
)


class Progress:
    """
    Whether an asynchronous exchange is still connecting, so that running out of time means not sent.
    """

    def __init__(self) -> None:
        self._is_connecting = False
        self._stream: Any = None

    async def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """
        Note how far the exchange has come; the `trace` extension of an asynchronous request.
        """
        if event.endswith("connect_tcp.started"):
            self._is_connecting = True
        elif event.endswith("connect_tcp.complete"):
            self._stream = info["return_value"]
        elif event.endswith("send_request_headers.started"):
            self._is_connecting = False

    async def abandon(self) -> None:
        """
        Close a connection that never sent its first byte.

        The library leaves it open when it is cancelled during the TLS handshake
        (`tests/api/test_http.py::test_cancelling_the_handshake_closes_the_connection`).
        """
        if self._is_connecting and self._stream is not None:
            await self._stream.aclose()

    def error(self, base_url: str, timeout: float) -> TransportError:
        """
        Return the error of an exchange that ran out of time.
        """
        return (NotSentError if self._is_connecting else NoAnswerError)(too_late(base_url, timeout))


def too_late(base_url: str, timeout: float) -> str:
    """
    Return the message of an exchange that took longer than *timeout* seconds.
    """
    return f"{base_url}: no complete answer within {timeout:g} s"

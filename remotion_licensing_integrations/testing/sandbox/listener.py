"""
How the sandbox listens: uvicorn, with hanging answers that end when it stops, and with connections that can be reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Final

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from .answers import RESET
    from .app import create_app
except ModuleNotFoundError as problem:
    if (problem.name or "").partition(".")[0] not in {"starlette", "uvicorn", "h11"}:
        raise
    message = 'The sandbox needs Starlette and uvicorn: pip install "remotion-licensing-integrations[sandbox]"'
    raise ModuleNotFoundError(message, name=problem.name) from problem

if TYPE_CHECKING:
    from starlette.types import Receive, Send

    from .failures import FailureSwitch
    from .state import Ledger

GRACE: Final = 0.05  # seconds between letting go of answers and closing their connections
STOP_TIMEOUT: Final = 1  # seconds


class Listener(uvicorn.Server):
    """
    A uvicorn server that lets go of hanging answers first when it stops.
    """

    def __init__(self, ledger: Ledger, switch: FailureSwitch, host: str) -> None:
        self.ready = threading.Event()
        self.stopping = asyncio.Event()
        app = create_app(ledger, switch, host=host, stopping=self.stopping)
        super().__init__(
            uvicorn.Config(
                app,
                http=_ResettableProtocol,
                ws="none",
                lifespan="off",
                # uvicorn's logging set-up is global to the process, which belongs to somebody else.
                log_config=None,
                timeout_graceful_shutdown=STOP_TIMEOUT,
            )
        )

    def run_on(self, listener: socket.socket) -> None:
        """
        Serve on *listener* until `should_exit` is set.
        """
        try:
            asyncio.run(self.serve(sockets=[listener]))
        finally:
            self.ready.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """
        Start, then tell `ready`.
        """
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """
        Let go of answers that hang or are held back, close every connection, then stop.

        uvicorn alone would wait for clients that stall in the middle of a request, and would miss a connection that
        is accepted in the same moment.
        """
        self.stopping.set()
        for server in self.servers:
            server.close()
        await asyncio.sleep(GRACE)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        await super().shutdown(sockets)


class _ResettableProtocol(H11Protocol):
    """
    uvicorn's HTTP protocol, whose app can reset the connection through an ASGI extension.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn says so itself
        """
        Wrap the app of this connection.
        """
        super().connection_made(transport)
        self.access_log = False
        app = self.app

        async def lend_reset(scope: Any, receive: Receive, send: Send) -> None:
            scope["extensions"] = {RESET: lambda: _reset(transport)}
            await app(scope, receive, send)

        self.app = lend_reset


def _reset(transport: asyncio.Transport) -> None:
    if transport.is_closing():
        return
    # Lingering for zero seconds makes the kernel send RST, where a plain close sends FIN.
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()

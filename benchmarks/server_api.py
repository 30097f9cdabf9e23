"""
A licensing API that costs next to nothing: `python -m benchmarks.server_api PORT MILLISECONDS|hang`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

_BODY: Final = b'{"success":true,"billable":true,"classification":"billable"}'
_ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


class Api(asyncio.Protocol):
    """
    Answers each request on a kept-alive connection after *delay* seconds; `None` never answers.
    """

    def __init__(self, delay: float | None) -> None:
        self._delay = delay
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Keep the connection.
        """
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # TCP's is one

    def data_received(self, data: bytes) -> None:
        """
        Answer when a request is whole.
        """
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if not mark or len(body) < length or self._delay is None:
            return
        self._received = b""
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, _ANSWER)
        else:
            self._transport.write(_ANSWER)


async def main() -> None:
    """
    Listen until killed.
    """
    port, behaviour = sys.argv[1:]
    delay = None if behaviour == "hang" else float(behaviour) / 1000
    server = await asyncio.get_running_loop().create_server(lambda: Api(delay), "127.0.0.1", int(port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

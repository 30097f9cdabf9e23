"""
A licensing API that costs next to nothing: `python -m benchmarks.server_api PORT MILLISECONDS|hang`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from benchmarks.protocol import Requests

_BODY: Final = b'{"success":true,"billable":true,"classification":"billable"}'
_ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


class Api(Requests):
    """
    Answers each request on a kept-alive connection after *delay* seconds; `None` never answers.
    """

    def __init__(self, delay: float | None) -> None:
        super().__init__()
        self._delay = delay

    def answer(self, path: bytes, body: bytes) -> None:
        """
        Count any point as billable.
        """
        del path, body
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self.transport.write, _ANSWER)
        elif self._delay is not None:
            self.transport.write(_ANSWER)


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

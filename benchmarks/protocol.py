"""
How the licensing APIs of measurements read their requests.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod


class Requests(asyncio.Protocol):
    """
    The requests of one connection, one after the other.
    """

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Keep the connection.
        """
        self.transport: asyncio.Transport = transport  # type: ignore[assignment] # TCP's is one

    def data_received(self, data: bytes) -> None:
        """
        Answer when a request is whole.
        """
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if mark and len(body) >= length:
            self._received = b""
            self.answer(head.split(b" ", 2)[1], body)

    @abstractmethod
    def answer(self, path: bytes, body: bytes) -> None:
        """
        Answer the request for *path* with *body*.
        """

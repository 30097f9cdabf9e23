"""
What tests and local development need: the sandbox licensing server, and an outbox in memory.

Importing this package imports no server and no framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..outbox import MemoryOutbox

if TYPE_CHECKING:
    from .sandbox.server import Sandbox

__all__ = ["MemoryOutbox", "Sandbox"]


def __getattr__(name: str) -> Any:
    if name == "Sandbox":
        from .sandbox.server import Sandbox  # noqa: PLC0415 - the servers of the extra are imported on first use

        return Sandbox
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

"""
What tests and local development need: the sandbox licensing server, and an outbox in memory.
"""

from ..outbox import MemoryOutbox
from .sandbox import Sandbox

__all__ = ["MemoryOutbox", "Sandbox"]

"""
Sends usage points from the outbox to the licensing API.

In comes an outbox with points that are due; out go calls of `api`, and the result of each goes back into the outbox.
"""

from .deliverer import Deliverer
from .hooks import Hooks
from .pace import Pace
from .senders import drain
from .verdicts import PASSING
from .worker import Worker

__all__ = [
    "PASSING",
    "Deliverer",
    "Hooks",
    "Pace",
    "Worker",
    "drain",
]

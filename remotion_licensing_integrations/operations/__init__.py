"""
What a person asks of the usage points: the command line and the commands behind it.

In come arguments and a recorder; out go text and an exit status.
"""

from .cli import main
from .commands import run
from .parser import add_commands

__all__ = [
    "add_commands",
    "main",
    "run",
]

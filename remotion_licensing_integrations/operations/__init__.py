"""
What a person asks of the usage points: the command line and the commands behind it.

In come arguments and a recorder; out go text and an exit status.
"""

from .cli import DESCRIPTION, add_commands, main, run

__all__ = [
    "DESCRIPTION",
    "add_commands",
    "main",
    "run",
]

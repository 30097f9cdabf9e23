"""
The operator's commands, and the command line that runs them.

In come arguments and a recorder; out go text and an exit status.
"""

from .cli import DESCRIPTION, add_commands, main, run

__all__ = [
    "DESCRIPTION",
    "add_commands",
    "main",
    "run",
]

"""
The command that looks for problems of a set-up: `doctor`. It changes nothing and registers nothing.

In come a recorder, and the app that `--app` names; out go findings, each with a name that stays the same. There is a
module for each thing that is looked at: settings, app, outbox, licensing API, and the code that may report by itself.
"""

from .command import doctor, examine

__all__ = ["doctor", "examine"]

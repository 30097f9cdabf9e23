"""
What keeps points in place of a recorder's threads, in tests and where nothing is recorded.
"""

from __future__ import annotations

from typing import Final

from .entries import Entry


class Keeper:
    """
    Keeps points in place of a recorder's threads, and neither starts nor delivers anything; this one drops them.
    """

    def keep(self, entry: Entry) -> bool:  # noqa: ARG002 - for subclasses
        """
        Keep *entry* and return whether it is kept.
        """
        return False

    async def akeep(self, entry: Entry) -> bool:
        """
        Same as `keep`, but from a coroutine.
        """
        return self.keep(entry)


NOTHING: Final = Keeper()

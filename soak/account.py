"""
Where each acknowledged key is at the end.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

from remotion_licensing_integrations.outbox import SQLiteOutbox
from remotion_licensing_integrations.points import read_point

from .api import KEY_BYTES, to_number
from .site import Site

_ALL: Final = 1_000_000  # points


def find_missing(missing: set[int], site: Site, *, asks: bool) -> Counter[str]:
    """
    Return how many of the keys that the API does not have are where; `lost` is nowhere.
    """
    places: dict[int, str] = {}
    if missing:
        places |= dict.fromkeys(_logged(site.logs()), "only in the log")
        places |= dict.fromkeys(_spilled(site.spill), "spilled")
    if missing and asks:
        places |= {to_number(key): state for key, state in site.states().items()}
    return Counter(places.get(key, "lost") for key in missing)


def read_registered(file: Path) -> set[int]:
    """
    Return the keys that the API has, as numbers.
    """
    keys = file.read_bytes()
    return {int.from_bytes(keys[at : at + KEY_BYTES], "big") for at in range(0, len(keys), KEY_BYTES)}


def _spilled(file: Path) -> set[int]:
    if not file.exists():
        return set()
    with closing(SQLiteOutbox(file)) as spill:
        return {to_number(stored.point.idempotency_key) for stored in spill.list(limit=_ALL)}


def _logged(log: str) -> set[int]:
    points = (read_point(line) for line in log.splitlines() if "remotion-usage-point" in line)
    return {to_number(point.idempotency_key) for point in points if point is not None}

"""
The latest points that meet a search, for the page and as CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final
from urllib.parse import urlencode

from .._support.masking import mask
from .._support.spreadsheets import COLUMNS, csv_writer
from ..outbox import Outbox, State, StoredPoint
from ..points import EVENTS

SHOWN: Final = 50  # points on a page
STEPS: Final = (SHOWN, 200, 1_000)  # numbers of points that a page may show
EXPORTED: Final = 50_000  # points in a CSV file
_LOOKED_AT: Final = 10_000  # points that a search looks at beyond those that it shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """
    What a person is looking for; empty fields ask for everything.

    Attributes:
        q: An idempotency key or its beginning, or a part of a host.
        limit: How many points are shown.
    """

    q: str = ""
    event: str = ""
    state: str = ""
    limit: int = SHOWN

    @classmethod
    def read(cls, values: Mapping[str, str]) -> Search:
        """
        Return the search of a query; what it cannot be is left out.
        """
        event, state, limit = (values.get(name, "") for name in ("event", "state", "limit"))
        return cls(
            q=values.get("q", "").strip()[:300],
            event=event if event in EVENTS else "",
            state=state if state in list(State) else "",
            limit=int(limit) if limit in map(str, STEPS) else SHOWN,
        )

    @property
    def more(self) -> int | None:
        """
        The next larger number of points; `None` when there is none.
        """
        return next((step for step in STEPS if step > self.limit), None)

    def query(self, **changes: object) -> str:
        """
        Return the query of this search with *changes*, with a question mark when there is one.
        """
        defaults = {field.name: field.default for field in fields(self)}
        values = {name: value for name, value in (asdict(self) | changes).items() if value != defaults.get(name)}
        return f"?{urlencode(values)}" if values else "?"

    def matches(self, stored: StoredPoint) -> bool:
        """
        Whether the point is one that is looked for.
        """
        point = stored.point
        return (
            self.event in ("", point.event)
            and self.state in ("", stored.state)
            and (not self.q or point.idempotency_key.startswith(self.q) or self.q.lower() in (point.host or "").lower())
        )


@dataclass(frozen=True, slots=True)
class Found:
    """
    The points that were found, newest first.

    Attributes:
        has_more: Whether there may be others.
    """

    points: Sequence[StoredPoint]
    has_more: bool


def find(outbox: Outbox, search: Search, limit: int | None = None) -> Found:
    """
    Return the latest points that meet *search*, at most *limit*, by default its own.
    """
    limit = limit or search.limit
    if search.q and (exact := outbox.get(search.q)) is not None:
        return Found([exact] if search.matches(exact) else [], has_more=False)
    is_plain = not search.q and not search.event
    looked_at = limit + 1 if is_plain else limit + _LOOKED_AT
    candidates = outbox.list(State(search.state) if search.state else None, limit=looked_at)
    points = [stored for stored in candidates if search.matches(stored)]
    return Found(points[:limit], len(points) > limit or len(candidates) == looked_at)


def csv_lines(points: Sequence[StoredPoint]) -> Iterator[str]:
    """
    Yield the header and a line for each of *points*.
    """
    write = csv_writer()
    yield write(COLUMNS)
    for stored in points:
        values: dict[str, Any] = stored.to_json()
        values["last_error"] = mask(stored.last_error or "")
        yield write(values[name] for name in COLUMNS)

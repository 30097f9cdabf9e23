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
_PAGE: Final = 1_000  # points that are read at a time
_DIGITS: Final = 19  # of the largest row, and one
_MAX_PAGES: Final = 10  # pages that a search reads before it asks whether to go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """
    What a person is looking for; empty fields ask for everything.

    Attributes:
        q: An idempotency key or its beginning, or a part of a host or label.
        below: Only points that were stored before the one with this row.
    """

    q: str = ""
    event: str = ""
    state: str = ""
    below: int | None = None

    @classmethod
    def read(cls, values: Mapping[str, str]) -> Search:
        """
        Return the search of a query; what it cannot be is left out.
        """
        event, state, below = (values.get(name, "") for name in ("event", "state", "below"))
        return cls(
            q=values.get("q", "").strip()[:300],
            event=event if event in EVENTS else "",
            state=state if state in list(State) else "",
            below=int(below) if below.isascii() and below.isdigit() and len(below) < _DIGITS else None,
        )

    def query(self, **changes: object) -> str:
        """
        Return the query of this search with *changes*, with a question mark when there is one.
        """
        defaults = {field.name: field.default for field in fields(self)}
        values = {name: value for name, value in (asdict(self) | changes).items() if value != defaults.get(name)}
        return f"?{urlencode(values)}" if values else "?"

    @property
    def is_plain(self) -> bool:
        """
        Whether everything is asked for.
        """
        return self.query(below=None) == "?"

    def pages(self, outbox: Outbox, size: int = _PAGE) -> Iterator[Sequence[StoredPoint]]:
        """
        Yield the points that may meet the search, newest first; each page is read when it is asked for.
        """
        state, below = State(self.state) if self.state else None, self.below
        while page := outbox.list(state, event=self.event or None, below=below, limit=size):
            yield page
            below = page[-1].row

    def matches(self, stored: StoredPoint) -> bool:
        """
        Whether the point has the text that is looked for.
        """
        point, q = stored.point, self.q
        texts = (text.lower() for text in (point.host, point.label) if text)
        return point.idempotency_key.startswith(q) or not q or any(q.lower() in text for text in texts)


@dataclass(frozen=True, slots=True)
class Found:
    """
    The points that were found, newest first.

    Attributes:
        below: The row from which on there may be more; `None` when there are none.
    """

    points: Sequence[StoredPoint]
    below: int | None


def find(outbox: Outbox, search: Search) -> Found:
    """
    Return the latest points that meet *search*, at most `SHOWN`.
    """
    points: list[StoredPoint] = []
    if (exact := outbox.get(search.q) if search.q else None) is not None:
        is_one = search.state in ("", exact.state) and search.event in ("", exact.point.event)
        return Found([exact] if is_one else [], None)
    for number, page in enumerate(search.pages(outbox, _PAGE if search.q else SHOWN + 1), 1):
        points += [stored for stored in page if search.matches(stored)]
        if len(points) > SHOWN:
            return Found(points[:SHOWN], points[SHOWN - 1].row)
        if number == _MAX_PAGES:
            return Found(points, page[-1].row)
    return Found(points, None)


def csv_lines(outbox: Outbox, search: Search) -> Iterator[str]:
    """
    Yield the header and a line for each point that meets *search*.
    """
    write = csv_writer()
    yield write(COLUMNS)
    for page in search.pages(outbox):
        for stored in filter(search.matches, page):
            values: dict[str, Any] = stored.to_json()
            values["last_error"] = mask(stored.last_error or "")
            yield write(values[name] for name in COLUMNS)

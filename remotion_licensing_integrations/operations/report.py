"""
The command that counts usage points by day, week or month: `report`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from .._support.spreadsheets import csv_writer
from ..api import CLASSIFICATIONS
from ..errors import ConfigurationError
from ..outbox import Dimension, Outbox, State, Total, beginning
from ..points import utc_now
from ..recording import UsageRecorder
from .arguments import moment
from .command import argument, command
from .output import write, write_json, write_table

#: What points can be grouped by, and its dimension in the outbox.
GROUPS: Final[Mapping[str, Dimension]] = {
    "event": "event",
    "classification": "classification",
    "host": "host",
    "label": "label",
    "key": "key_fingerprint",
    "state": "state",
}
_FORMATS: Final = ("table", "csv", "json", "bars")
#: Days that a report has unless it is told where to begin.
_DAYS: Final = {"day": 30, "week": 12 * 7, "month": 365}

_BAR: Final = "█▓▒░"
_ASCII_BAR: Final = "#=-."
_BAR_WIDTH: Final = 60  # characters


def _group(text: str) -> Sequence[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in GROUPS]:
        msg = f"expected some of {', '.join(GROUPS)}, got {unknown[0]!r}"
        raise argparse.ArgumentTypeError(msg)
    return [*dict.fromkeys(names)]


@dataclass(frozen=True, slots=True)
class Report:
    """
    How many points each period has, split by *group*.

    Attributes:
        counts: The number of points by period and the values of *group*; `None` is "not said".
    """

    by: str
    group: Sequence[str]
    first: date
    last: date
    counts: Mapping[tuple[str | None, ...], int]


@command(
    "report",
    "count usage points by day, week or month, pruned ones included",
    argument("--by", choices=[*_DAYS], default="day", help="length of a period (default: %(default)s)"),
    argument("--since", type=moment, metavar="DATE", help="first day, in UTC, or how long ago, such as 52w"),
    argument("--until", type=moment, metavar="DATE", help="last day, in UTC (default: today)"),
    argument(
        "--group",
        type=_group,
        metavar="NAMES",
        help=f"split by these: {','.join(GROUPS)} (default: event,classification)",
    ),
    argument("--format", choices=_FORMATS, default="table", help="default: %(default)s"),
    needs_outbox=True,
)
def report(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print how many points there are in each period.
    """
    style = "json" if arguments.json else arguments.format
    last = arguments.until.date() if arguments.until else utc_now().date()
    first = arguments.since.date() if arguments.since else last - timedelta(days=_DAYS[arguments.by] - 1)
    if first > last:
        msg = f"since: {first} is later than {last}, the last day of the report"
        raise ConfigurationError(msg)
    group = arguments.group
    if style == "bars":
        # The parts of a bar are the classifications.
        group = dict.fromkeys([*(group or ()), "classification"])
    elif group is None:
        group = ("event", "classification")
    _WRITE[style](make_report(recorder.outbox, arguments.by, [*group], first, last))
    return 0


def make_report(outbox: Outbox, by: str, group: Sequence[str], first: date, last: date) -> Report:
    """
    Count the points of *outbox* that occurred from *first* to *last*.

    Args:
        outbox: The outbox.
        by: "day", "week" or "month".
        group: Some of `GROUPS`. A point that is not registered has its state in place of a classification.
        first: The first day, in UTC.
        last: The last day.
    """
    dimensions: set[Dimension] = {GROUPS[name] for name in group}
    if "classification" in group:
        dimensions.add("state")
    totals = outbox.totals("day", *dimensions, since=beginning(first), until=beginning(last + timedelta(days=1)))
    counts: Counter[tuple[str | None, ...]] = Counter()
    for total in totals:
        assert total.day is not None  # noqa: S101 - for type checkers; it was asked for
        counts[(_period(total.day, by), *(_value(total, name) for name in group))] += total.number
    order = sorted(counts, key=lambda values: [_rank(value) for value in values])
    return Report(by, group, first, last, {values: counts[values] for values in order})


def _period(day: date, by: str) -> str:
    if by == "month":
        return f"{day:%Y-%m}"
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02}" if by == "week" else f"{day}"


def _value(total: Total, name: str) -> str | None:
    if name == "classification" and total.state != State.REGISTERED:
        return total.state
    value: str | None = getattr(total, GROUPS[name])
    return value


def _rank(value: str | None) -> tuple[int, str]:
    # The API's own words first, then others, then states.
    places = [*CLASSIFICATIONS, None, *State]
    return (places.index(value) if value in places else len(CLASSIFICATIONS), value or "")


def _write_csv(made: Report) -> None:
    line = csv_writer()
    for row in [(made.by, *made.group, "points"), *((*values, number) for values, number in made.counts.items())]:
        write(line(row).rstrip("\r\n"))


def _write_json(made: Report) -> None:
    names = (made.by, *made.group)
    rows = [{**dict(zip(names, values, strict=True)), "points": number} for values, number in made.counts.items()]
    write_json({"by": made.by, "since": f"{made.first}", "until": f"{made.last}", "rows": rows})


def _split(made: Report) -> tuple[Sequence[str], Mapping[tuple[str | None, ...], Counter[str]]]:
    """
    Return the classifications that occur, and for each other group its numbers by classification.
    """
    if "classification" not in made.group:
        return (), {values: Counter({"": number}) for values, number in made.counts.items()}
    place = 1 + made.group.index("classification")
    rows: dict[tuple[str | None, ...], Counter[str]] = {}
    for values, number in made.counts.items():
        others = values[:place] + values[place + 1 :]
        rows.setdefault(others, Counter())[values[place] or "unknown"] += number
    occurring = {word for counts in rows.values() for word in counts}
    return sorted(occurring, key=_rank), dict(sorted(rows.items(), key=lambda item: [*map(_rank, item[0])]))


def _write_table(made: Report) -> None:
    words, rows = _split(made)
    others = [name for name in made.group if name != "classification"]
    lines = [
        (*(value or "-" for value in values), *(counts[word] for word in words), counts.total())
        for values, counts in rows.items()
    ]
    totals = sum(rows.values(), Counter[str]())
    lines.append(("total", *("" for _ in others), *(totals[word] for word in words), totals.total()))
    write_table([name.upper() for name in (made.by, *others, *words, "points")], lines)


def _write_bars(made: Report) -> None:
    words, rows = _split(made)
    if not rows:
        write("No usage points.")
        return
    if len(made.group) == 1:
        # Periods without points belong to the picture.
        days = [made.first + timedelta(days=number) for number in range((made.last - made.first).days + 1)]
        periods = [*dict.fromkeys(_period(day, made.by) for day in days)]
        rows = {(period,): rows.get((period,), Counter()) for period in periods[periods.index(min(rows)[0] or "") :]}
    symbols = _BAR if _shows(_BAR) else _ASCII_BAR
    most = max(counts.total() for counts in rows.values())
    labels = {values: "  ".join(value or "-" for value in values) for values in rows}
    widest = max(map(len, labels.values()))
    width = min(_BAR_WIDTH, max(10, shutil.get_terminal_size().columns - widest - len(f"{most:,}") - 4))
    for values, counts in rows.items():
        bar, end = "", 0
        for word in words:
            end += counts[word]
            bar += _symbol(word, symbols) * (round(end * width / most) - len(bar))
        write(f"{labels[values]:<{widest}}  {bar}{' ' if bar else ''}{counts.total():,}")
    parts: dict[str, list[str]] = {}
    for word in words:
        parts.setdefault(_symbol(word, symbols), []).append(word)
    write("   ".join(f"{symbol} {', '.join(words)}" for symbol, words in parts.items()))


def _symbol(word: str, symbols: str) -> str:
    return symbols[CLASSIFICATIONS.index(word) if word in CLASSIFICATIONS else len(CLASSIFICATIONS)]


def _shows(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


_WRITE: Final = {"table": _write_table, "csv": _write_csv, "json": _write_json, "bars": _write_bars}

"""
The statements about daily totals, as templates: `Statements` fills in the tables, the current time and the days.

The fault: a total that is written apart from the deletion of its points is counted twice or lost by a crash between the
two, or by two processes that prune at once (`tests/outbox/test_totals.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from ..totals import MAX_KEPT_CLASSIFICATION, TOTAL, Dimension
from ..values import State

#: Rows; bounds how long one step of pruning keeps them locked.
PRUNE_STEP: Final = 1_000

#: What can be pruned.
OLD: Final = "state = 'registered' AND due < {now} - %(older_than)s::float8"

# What a point has for the columns of its daily total.
_VALUES: Final = {
    "day": "{occurred_day}",
    "registered_day": "{due_day}",
    **{name: f"COALESCE({name}, '')" for name in ("host", "label", "key_fingerprint")},
    "classification": f"COALESCE(SUBSTR(classification, 1, {MAX_KEPT_CLASSIFICATION}), '')",
}
_GROUP: Final = TOTAL[:-1]

# By name, as an index finds these.
_WAITING: Final = f"state IN ({', '.join(repr(state.value) for state in State if state is not State.REGISTERED)})"

INSERT_TOTALS: Final = f"INSERT INTO {{totals}} ({', '.join(TOTAL)})"
ADD_TOTALS: Final = f"ON CONFLICT ({', '.join(_GROUP)}) DO UPDATE SET number = {{totals}}.number + excluded.number"


def select_kept(source: str) -> str:
    """
    Return a query for the daily totals of the points in *source*.
    """
    columns = ", ".join(f"{_VALUES.get(name, name)} AS {name}" for name in _GROUP)
    group = _ordinals(len(_GROUP))
    # In one order, so that two processes that add to the same totals do not lock each other out.
    return f"SELECT {columns}, COUNT(*) AS number FROM {source} GROUP BY {group} ORDER BY {group}"


def select_totals(by: Sequence[Dimension], *, registered: bool, waiting: bool, limits: Collection[str]) -> str:
    """
    Return the query for the groups of *by*: one statement, so that what is pruned at the same time is counted once.

    Its parameters are those of *limits*: `since` and `until`, and `first` and `end`, the numbers of the days that these
    begin.
    """
    day, moment = ("due_day", "due") if registered else ("occurred_day", "occurred_at")
    typed = "float8" if registered else "{moment}"
    live = ["state = 'registered'"] if registered else [_WAITING] if waiting else []
    pruned = ["1 = 0"] if waiting else []
    total_day = "registered_day" if registered else "day"
    if "since" in limits:
        live.append(f"{moment} >= %(since)s::{typed}")
        pruned.append(f"{total_day} >= %(first)s::int")
    if "until" in limits:
        live.append(f"{moment} < %(until)s::{typed}")
        pruned.append(f"{total_day} < %(end)s::int")
    of_points = {
        "day": f"{{{day}}}",
        "unanswered": "CASE WHEN unanswered_since IS NULL AND token IS NULL THEN 0 ELSE 1 END",
    }
    of_totals = {"day": total_day, "unanswered": "0", "state": "'registered'"}
    return (
        f"{_select('{points}', [of_points.get(name, name) for name in by], 'COUNT(*)', live)} UNION ALL "
        f"{_select('{totals}', [of_totals.get(name, name) for name in by], 'SUM(number)', pruned)}"
    )


def _select(table: str, columns: Sequence[str], number: str, conditions: Sequence[str]) -> str:
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    group = f" GROUP BY {_ordinals(len(columns))}" if columns else ""
    return f"SELECT {', '.join([*columns, number])} FROM {table}{where}{group}"


def _ordinals(count: int) -> str:
    return ", ".join(str(number) for number in range(1, count + 1))

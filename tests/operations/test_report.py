"""
`report`: points by day, week and month, for people, programs and spreadsheets.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from remotion_licensing_integrations.outbox import State
from remotion_licensing_integrations.points.point import Registration
from tests.outbox._values import bring, point

YEAR = ("--since", "2026-01-01", "--until", "2026-12-31")
PROGRAM = [sys.executable, "-m", "remotion_licensing_integrations"]


def register(outbox, *days, classification="billable", **fields):
    """
    Have registered points that occurred at noon of some days.
    """
    moments = [datetime.fromisoformat(f"{day}T12:00Z") for day in days]
    new = [
        point(f"{moment} {number} {classification} {fields}", occurred_at=moment, **fields)
        for number, moment in enumerate(moments)
    ]
    outbox.add(new)
    answer = Registration(billable=True, classification=classification)
    assert outbox.update([claimed.register(answer) for claimed in outbox.claim(1_000, lease=60)]) == len(new)


@pytest.fixture
def filled(outbox):
    """
    Fill the outbox with points of some months, the first of them pruned.
    """
    register(outbox, "2026-01-31", "2026-02-01", "2026-02-01")
    register(outbox, "2026-02-01", event="web-render", host="https://myapp.com", classification="development")
    outbox.prune(-1)
    register(outbox, "2026-11-01", "2026-11-02", classification="failed")
    outbox.add([point("pending", occurred_at=datetime(2026, 11, 2, 23, 59, tzinfo=UTC))])
    return outbox


def table(out):
    return [line.split() for line in out.splitlines()]


def test_table_by_month(run, filled) -> None:
    """
    A row has a month and an event, and its points by classification; what is not registered has its state.
    """
    ran = run("report", "--by", "month", *YEAR)

    assert ran.status == 0
    assert table(ran.out) == [
        ["MONTH", "EVENT", "BILLABLE", "DEVELOPMENT", "FAILED", "PENDING", "POINTS"],
        ["2026-01", "cloud-render", "1", "0", "0", "0", "1"],
        ["2026-02", "cloud-render", "2", "0", "0", "0", "2"],
        ["2026-02", "web-render", "0", "1", "0", "0", "1"],
        ["2026-11", "cloud-render", "0", "0", "2", "1", "3"],
        ["total", "3", "1", "2", "1", "7"],
    ]


@pytest.mark.parametrize(
    ("by", "periods"),
    [
        ("day", ["2026-01-31", "2026-02-01", "2026-11-01", "2026-11-02"]),
        ("week", ["2026-W05", "2026-W44", "2026-W45"]),
        ("month", ["2026-01", "2026-02", "2026-11"]),
    ],
)
def test_periods(by, periods, run, filled) -> None:
    """
    Days and months are those of UTC, weeks those of ISO 8601.
    """
    _, *rows, total = table(run("report", "--by", by, "--group", "", *YEAR).out)

    assert ([row[0] for row in rows], total) == (periods, ["total", "7"])


def test_range_has_both_days(run, filled) -> None:
    """
    The first and the last day belong to the report.
    """
    out = run("report", "--since", "2026-02-01", "--until", "2026-11-01", "--format", "csv").out

    assert sum(int(row["points"]) for row in csv.DictReader(io.StringIO(out))) == 4


@pytest.mark.parametrize(("by", "days"), [("day", 29), ("week", 83), ("month", 364)])
def test_default_range(by, days, run, outbox) -> None:
    """
    Without a range the report ends today, and has a month of days, a quarter of weeks or a year of months.
    """
    today = datetime.now(UTC).date()
    made = json.loads(run("report", "--by", by, "--json").out)

    assert (made["since"], made["until"]) == (f"{today - timedelta(days=days)}", f"{today}")


def test_range_that_ends_before_it_begins(run, outbox) -> None:
    """
    A range without days is a mistake.
    """
    ran = run("report", "--since", "2026-02-01", "--until", "2026-01-01")

    assert (ran.status, ran.err) == (
        2,
        "error: since: 2026-02-01 is later than 2026-01-01, the last day of the report\n",
    )


def test_groups(run, filled) -> None:
    """
    Points are split by what is asked for; a value that a point does not have is null.
    """
    made = json.loads(run("report", "--by", "month", "--group", "host,label,key,state", "--json", *YEAR).out)
    without = {"label": None, "key": None, "state": "registered"}

    assert made["rows"][1:3] == [
        {"month": "2026-02", "host": None, **without, "points": 2},
        {"month": "2026-02", "host": "https://myapp.com", **without, "points": 1},
    ]


def test_table_without_classifications(run, filled) -> None:
    """
    A table that is not split by classification has the numbers only.
    """
    out = run("report", "--by", "month", "--group", "host", *YEAR).out

    assert table(out)[:2] == [["MONTH", "HOST", "POINTS"], ["2026-01", "-", "1"]]
    assert table(out)[-1] == ["total", "7"]


def test_unknown_group(run) -> None:
    """
    What points cannot be split by is a usage error that names what they can.
    """
    ran = run("report", "--group", "event,weather")

    assert ran.status == 2
    assert "expected some of event, classification, host, label, key, state, got 'weather'" in ran.err


def test_csv_is_safe_in_a_spreadsheet(run, outbox) -> None:
    """
    A classification that a spreadsheet would run as a formula is text.
    """
    register(outbox, "2026-02-01", classification="=1+1")
    out = run("report", "--format", "csv", *YEAR).out

    assert out == "day,event,classification,points\n2026-02-01,cloud-render,'=1+1,1\n"


def test_states_and_unknown_words(run, outbox) -> None:
    """
    Known classifications come first, then others, then states; an answer without one is "unknown".
    """
    for state in (State.HELD, State.REJECTED):
        bring(outbox, state, state.value)
    register(outbox, "2026-02-01", classification=None)
    register(outbox, "2026-02-01", classification="word-of-tomorrow")
    register(outbox, "2026-02-01", classification="billable")
    [head, *_] = table(run("report", "--by", "month", "--since", "2023-01-01").out)

    assert head[2:] == ["BILLABLE", "UNKNOWN", "WORD-OF-TOMORROW", "REJECTED", "HELD", "POINTS"]


def test_bars(run, filled, monkeypatch) -> None:
    """
    Bars are as long as their numbers, with a part for each classification; periods without points have none.
    """
    monkeypatch.setenv("COLUMNS", "39")
    lines = run("report", "--by", "month", "--format", "bars", *YEAR).out.splitlines()

    assert len(lines) == 13
    assert lines[0] == "2026-01  █████████ 1"
    assert lines[1] == "2026-02  ██████████████████▓▓▓▓▓▓▓▓▓ 3"
    assert lines[2] == "2026-03  0"
    assert lines[10] == "2026-11  ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒░░░░░░░░░ 3"
    assert lines[-1] == "█ billable   ▓ development   ▒ failed   ░ pending"


def test_bars_of_groups(run, filled, monkeypatch) -> None:
    """
    With groups each has a bar, and none is drawn for nothing.
    """
    monkeypatch.setenv("COLUMNS", "39")
    lines = run("report", "--by", "month", "--format", "bars", "--group", "event", *YEAR).out.splitlines()

    assert [line.split()[:2] for line in lines[:-1]] == [
        ["2026-01", "cloud-render"],
        ["2026-02", "cloud-render"],
        ["2026-02", "web-render"],
        ["2026-11", "cloud-render"],
    ]


def test_no_bars(run, outbox) -> None:
    """
    Without points one sentence says so.
    """
    assert run("report", "--format", "bars") == (0, "No usage points.\n", "")


def test_bars_in_ascii(run, filled, file) -> None:
    """
    A terminal that has no blocks gets other characters.
    """
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "39"}
    words = ["report", "--by", "month", "--format", "bars", *YEAR]
    done = subprocess.run([*PROGRAM, *words], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[1] == "2026-02  ##################========= 3"

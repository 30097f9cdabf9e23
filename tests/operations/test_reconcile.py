"""
`reconcile` against a real licensing server: differences that tests plant are found, explained and located.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from remotion_licensing_integrations.outbox import SQLiteOutbox, State
from remotion_licensing_integrations.points import make_fingerprint
from remotion_licensing_integrations.points.point import Registration
from remotion_licensing_integrations.testing import Sandbox
from tests.operations._keys import KEY, PRIVATE_KEY
from tests.outbox._values import REGISTRATION, bring, point

PROGRAM = [sys.executable, "-m", "remotion_licensing_integrations"]
DAY = timedelta(days=1)
#: Ten days ago, at midnight in UTC: a window that is the same on each day of a month.
SINCE = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 10 * DAY
WINDOW = ("reconcile", "--since", f"{SINCE:%Y-%m-%d}")
NOON = timedelta(hours=12)


@pytest.fixture
def ledger(tmp_path) -> Path:
    """
    Name the file of the licensing server's points.
    """
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def serve(ledger, run, monkeypatch) -> Iterator[Callable[..., Sandbox]]:
    """
    Give a function that starts the licensing server with points that came at some moments.
    """
    servers: list[Sandbox] = []

    def serve(*moments: datetime, **fields: Any) -> Sandbox:
        lines = [counted(number, moment, **fields) for number, moment in enumerate(moments, 1)]
        ledger.write_text("".join(f"{json.dumps({'point': line})}\n" for line in lines))
        servers.append(Sandbox(file=ledger))
        servers[-1].start()
        monkeypatch.setenv("REMOTION_LICENSING_BASE_URL", servers[-1].url)
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()


def counted(number: int, moment: datetime, **fields: Any) -> dict[str, Any]:
    return {
        "project": "rm_pub_…(0000000000)",
        "event": "cloud-render",
        "host": None,
        "succeeded": True,
        "is_still": False,
        "is_production": True,
        "idempotency_key": f"theirs-{number}",
        "number": number,
        "received_at": moment.isoformat(),
        "repeats": 0,
        "classification": "billable",
        **fields,
    }


def program(*words: str) -> tuple[int, str]:
    """
    Run one command in a process of its own; return its status and what it printed.
    """
    done = subprocess.run([*PROGRAM, *words], env=os.environ, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def register(outbox: SQLiteOutbox, *keys: str, at: datetime, classification: str | None = "billable") -> None:
    """
    Have points in the outbox that were registered at a moment.
    """
    outbox._clock = at.timestamp
    outbox.add([point(key, occurred_at=at) for key in keys])
    answer = Registration(billable=True, classification=classification)
    assert outbox.update([claimed.register(answer) for claimed in outbox.claim(100, lease=60)]) == len(keys)


# Real processes: what is planted is found


def test_both_sides_agree(serve, outbox) -> None:
    """
    Where everything was delivered, both sides have the same numbers.
    """
    serve()
    now = datetime.now(UTC)
    outbox.add(
        [
            point("a", occurred_at=now),
            point("b", occurred_at=now, event="web-render"),
            point("c", occurred_at=now, succeeded=False),
        ]
    )
    program("deliver", "--once")

    status, out = program(*WINDOW)

    assert (status, out.splitlines()[-2:]) == (0, ["Not registered: nothing.", "The numbers agree."])
    assert [line.split() for line in out.splitlines()[2:-2]] == [
        ["cloud-render", "billable", "1", "1", "0"],
        ["cloud-render", "failed", "1", "1", "0"],
        ["web-render", "billable", "1", "1", "0"],
        ["all", "billable", "2", "2", "0"],
    ]


def test_another_client_with_the_same_key(serve, outbox) -> None:
    """
    Points that another client registers are found, with the day, and likely reasons are named.
    """
    serve()
    register(outbox, "old", at=SINCE - DAY)
    outbox.add([point("a")])
    program("deliver", "--once")
    for _ in range(2):
        program("register", "web-render")

    status, out = program(*WINDOW)

    assert status == 1
    today = datetime.now(UTC).date()
    assert f"Not explained: +2 billable web-render; registered on {today} (+2)." in out
    assert "another sender uses a key of the same project" in out


def test_a_point_that_the_api_has_lost(serve, outbox) -> None:
    """
    A point that the API accepted and does not count is found, with the day.
    """
    server = serve()
    outbox.add([point("a"), point("b")])
    program("deliver", "--once")
    server.lose("b")

    status, out = program(*WINDOW)

    assert status == 1
    assert f"Not explained: -1 billable cloud-render; registered on {datetime.now(UTC).date()} (-1)." in out
    assert "it accepted points that it does not count now" in out


def test_a_point_that_may_have_been_counted(serve, outbox) -> None:
    """
    A pending point whose answer was lost accounts for what the API has more.
    """
    server = serve()
    server.set_failure("reset", count_first=True)
    outbox.add([point("a")])
    program("deliver", "--once")
    server.set_failure()

    status, out = program(*WINDOW)

    assert status == 0
    assert "+1 billable cloud-render: pending here, and sent without an answer yet" in out
    assert "Not registered: 1 pending." in out


# In this process: what explains a difference, and what does not


def test_before_the_first_point(run, serve, outbox) -> None:
    """
    What the API has counted before the first point came here is known exactly, and is said.
    """
    serve(SINCE + NOON, SINCE + 2 * DAY, SINCE + 4 * DAY, SINCE + 4 * DAY + NOON)
    register(outbox, "a", "b", at=SINCE + 4 * DAY)

    ran = run(*WINDOW)

    assert ran.status == 0
    assert (
        f"+2 billable cloud-render: counted before the first point in this outbox ({SINCE + 4 * DAY:%Y-%m-%d}"
        in ran.out
    )


def test_days_of_a_difference(run, serve, outbox) -> None:
    """
    Days on which the API has counted others are told apart, also when points here were pruned.
    """
    serve(SINCE, SINCE + NOON, SINCE + 2 * DAY, SINCE + 7 * DAY + NOON, SINCE + 7 * DAY + NOON, SINCE + 9 * DAY)
    for number, day in enumerate((0, 2, 9)):
        register(outbox, str(number), at=SINCE + day * DAY)
    outbox.prune(0)

    found = json.loads(run(*WINDOW, "--json").out)

    assert outbox.counts().registered == 1
    assert [(day["since"][:10], day["difference"]) for day in found["unexplained_days"]] == [
        (f"{SINCE:%Y-%m-%d}", 1),
        (f"{SINCE + 7 * DAY:%Y-%m-%d}", 2),
    ]
    assert found["counts"][0] == {
        "event": "cloud-render",
        "classification": "billable",
        "here": 3,
        "api": 6,
        "difference": 3,
        "unexplained": 3,
    }


def test_difference_on_many_days(run, serve, outbox, monkeypatch) -> None:
    """
    When finding each day would take too many questions to the API, ranges of days are named.
    """
    monkeypatch.setattr("remotion_licensing_integrations.operations.comparison._MAX_CALLS", 3)
    serve(*(SINCE + day * DAY + NOON for day in range(10)))
    register(outbox, "a", at=SINCE)

    ran = run(*WINDOW)

    assert ran.status == 1
    assert f"registered from {SINCE:%Y-%m-%d} to " in ran.out


def test_held_points(run, serve, outbox) -> None:
    """
    A held point accounts for a point that the API has counted; it is listed, with what to do.
    """
    serve(SINCE + 2 * DAY)
    bring(outbox, State.HELD, "doubtful")

    ran = run(*WINDOW)

    assert ran.status == 0
    assert "Held: 1 usage point that" in ran.out
    assert "doubtful" in ran.out
    assert "`reconcile --counted KEY` says that it was counted" in ran.out
    assert "+1 billable cloud-render: held here" in ran.out


def test_counted_points_are_registered(run, serve, outbox) -> None:
    """
    A held point that the API has counted counts here, too, once `--counted` says so.
    """
    serve(SINCE + 2 * DAY)
    outbox._clock = (SINCE + 2 * DAY).timestamp
    bring(outbox, State.HELD, "doubtful")
    confirmed = run("reconcile", "--counted", "doubtful")

    ran = run(*WINDOW)

    assert confirmed == (0, "1 usage point registered.\n", "")
    assert ran.status == 0
    assert "+1 billable cloud-render: registered here without a classification" in ran.out


def test_other_classifications(run, serve, outbox) -> None:
    """
    Points that the API counts otherwise than it answered are not explained.
    """
    serve(SINCE + 2 * DAY, is_production=False)
    register(outbox, "a", at=SINCE + 2 * DAY)

    ran = run(*WINDOW)

    assert ran.status == 1
    assert "The API has classified points otherwise than it answered" in ran.out


def test_around_midnight(run, serve, outbox) -> None:
    """
    A point that the API counted just before the window, and that was stored here just after, is no difference.
    """
    serve(SINCE - timedelta(seconds=1))
    register(outbox, "first", at=SINCE - DAY)
    register(outbox, "a", at=SINCE + timedelta(seconds=1))

    ran = run(*WINDOW)

    assert ran.status == 0
    assert "-1 billable cloud-render: registered here just after the window begins" in ran.out


def test_sent_again_without_a_key(run, serve, outbox, monkeypatch) -> None:
    """
    Without idempotency keys, a point that was sent twice may have been counted twice.
    """
    monkeypatch.setenv("REMOTION_LICENSING_IDEMPOTENCY", "off")
    serve(SINCE + 2 * DAY, SINCE + 2 * DAY + NOON)
    outbox._clock = (SINCE + 2 * DAY).timestamp
    outbox.add([point("a", occurred_at=SINCE)])
    [claimed] = outbox.claim(1, lease=60)
    outbox.update([claimed.reschedule(0, "no answer", unanswered=True)])
    [claimed] = outbox.claim(1, lease=60)
    outbox.update([claimed.register(REGISTRATION)])

    ran = run(*WINDOW)

    assert ran.status == 0
    assert "+1 billable cloud-render: sent again without an idempotency key" in ran.out


def test_points_that_occurred_before_the_window(run, serve, outbox) -> None:
    """
    Points that occurred before the window and were registered within it are named: the API counts them in it.
    """
    serve(SINCE + DAY)
    outbox._clock = (SINCE + DAY).timestamp
    outbox.add([point("a", occurred_at=SINCE - DAY)])
    [claimed] = outbox.claim(1, lease=60)
    outbox.update([claimed.register(REGISTRATION)])

    ran = run(*WINDOW)

    assert ran.status == 0
    assert "1 point occurred before and registered within" in ran.out


def test_points_for_other_keys(run, serve, outbox) -> None:
    """
    Points for the licence key of another project are not compared, and are named.
    """
    serve(SINCE + DAY)
    outbox._clock = (SINCE + DAY).timestamp
    moment = SINCE + DAY
    outbox.add(
        [
            point("ours", occurred_at=moment, key_fingerprint=make_fingerprint(KEY)),
            point("theirs", occurred_at=moment, key_fingerprint=make_fingerprint("rm_pub_other")),
        ]
    )
    keys = [make_fingerprint(KEY), make_fingerprint("rm_pub_other")]
    outbox.update([claimed.register(REGISTRATION) for claimed in outbox.claim(2, lease=60, fingerprints=keys)])

    ran = run(*WINDOW)

    assert ran.status == 0
    assert "1 point registered here for other licence keys: not compared." in ran.out
    assert "The numbers agree." in ran.out


def test_month_is_the_default(run, serve, outbox) -> None:
    """
    Without `--since` both sides begin with the month, in UTC.
    """
    serve()

    assert f"since {datetime.now(UTC):%Y-%m}-01 00:00:00Z" in run("reconcile").out


def test_window_that_the_api_does_not_know(run, serve, outbox) -> None:
    """
    What the API refuses is one line with its reason.
    """
    serve()

    assert run("reconcile", "--since", "2020-01-01") == (
        2,
        "",
        "error: HTTP 400: Cannot query usage older than 90 days\n",
    )


def test_reasons_in_json(run, serve, outbox) -> None:
    """
    JSON has the reasons and what waits, by name.
    """
    serve(SINCE + DAY)
    bring(outbox, State.HELD, "doubtful")
    bring(outbox, State.REJECTED, "refused")

    found = json.loads(run(*WINDOW, "--json").out)

    assert [(reason["reason"], reason["number"]) for reason in found["reasons"]] == [("held", 1)]
    assert (found["waiting"]["held"], found["waiting"]["rejected"], found["waiting"]["spilled"]) == (1, 1, 0)
    assert [stored["idempotency_key"] for stored in found["held"]] == ["doubtful"]


def test_no_key_is_shown(run, serve, outbox) -> None:
    """
    Neither key appears in the answer.
    """
    serve(SINCE + DAY)

    out = run(*WINDOW).out

    assert KEY not in out
    assert PRIVATE_KEY not in out

"""
The commands that show points: `list` by its conditions, `show`, and the age that `status` allows.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from remotion_licensing_integrations.outbox import SQLiteOutbox, State
from tests.operations._keys import KEY
from tests.outbox._values import REGISTRATION, bring, claim, point


def listed(ran) -> list[str]:
    assert ran.status == 0, ran.err
    return [json.loads(line)["idempotency_key"] for line in ran.out.splitlines()]


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["--event", "web-render"], ["c", "b"]),
        (["--host", "https://a.example"], ["c", "a"]),
        (["--classification", "billable"], ["b", "a"]),
        (["--label", "customer 42"], ["a"]),
        (["--since", "2026-01-02"], ["c", "b"]),
        (["--until", "2026-01-02T00:00:00+00:00"], ["a"]),
        (["--since", "2026-01-02T02:00+02:00", "--until", "2026-01-03"], ["b"]),
        (["--since", "1h"], []),
        (["--state", "registered", "--event", "cloud-render"], ["a"]),
    ],
    ids=" ".join,
)
def test_list_by_conditions(words, keys, run, outbox) -> None:
    """
    `list` shows the points that meet all conditions; moments are in UTC, or so long ago.
    """
    first, second, third = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))
    outbox.add([point("a", host="https://a.example", label="customer 42", occurred_at=first)])
    outbox.add([point("b", event="web-render", occurred_at=second)])
    outbox.update([claimed.register(REGISTRATION) for claimed in claim(outbox)])
    outbox.add([point("c", host="https://a.example", event="web-render", occurred_at=third)])

    assert listed(run("list", "--json", *words)) == keys


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--state", "open"], "invalid State value: 'open'"),
        (["--event", "coffee"], "invalid choice: 'coffee'"),
        (["--host", "myapp.com"], "'myapp.com' is not an origin like \"https://myapp.com\"; did you mean"),
        (["--host", f"https://{KEY}/"], "is not an origin"),
        (["--classification", "\udcff"], "expected printable characters"),
        (["--since", "yesterday"], "expected an ISO date such as 2026-01-31, or 2h for two hours ago"),
        (["--until", "999999999w"], "expected "),
        (["--since", "0001-01-01T00:00+10:00"], "expected an ISO date"),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else "",
)
def test_list_by_what_cannot_be(words, message, run, outbox) -> None:
    """
    A condition that no point can meet is a mistake, in one line.
    """
    ran = run("list", *words)

    assert (ran.status, message in ran.err, "Traceback" in ran.err) == (2, True, False)
    assert KEY not in ran.err


def test_long_list(run, outbox) -> None:
    """
    A list of more points than are read at a time is whole, in order and under one row of headings.
    """
    outbox.add([point(str(number)) for number in range(2_500)])

    assert listed(run("list", "--json", "--limit", "2400")) == [str(number) for number in range(2_499, 99, -1)]
    assert len(listed(run("list", "--json", "--limit", "9999"))) == 2_500
    lines = run("list", "--limit", "2000").out.splitlines()
    assert [line.split()[3] for line in lines[1:]] == [str(number) for number in range(2_499, 499, -1)]


def test_list_that_ends_with_a_page(run, outbox) -> None:
    """
    A list of just as many points as are read at a time ends with the last of them.
    """
    outbox.add([point(str(number)) for number in range(1_000)])

    assert len(run("list", "--limit", "1001").out.splitlines()) == 1 + 1_000


def test_empty_list(run, outbox) -> None:
    """
    A list of no points has the headings, as JSON nothing.
    """
    assert run("list").out.split()[:2] == ["OCCURRED", "STATE"]
    assert run("list", "--json").out == ""


def test_line_break_in_an_error(run, outbox) -> None:
    """
    A foreign text stays on its line.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    outbox.update([claimed.reject("<html>\n  <body>")])

    assert run("list").out.splitlines()[1].endswith(r"<html>\n  <body>")


def show(run, key: str = "key") -> str:
    ran = run("show", key)
    assert ran.status == 0, ran.err
    return ran.out


def test_show_tells_the_facts(run, outbox) -> None:
    """
    `show` has all that is known about a point.
    """
    bring(outbox, State.REGISTERED, "key")

    lines = dict(line.split(maxsplit=1) for line in show(run).partition("\n\n")[0].splitlines() if "image" not in line)
    assert lines == {
        "Key": "key",
        "Event": "cloud-render",
        "Host": "unknown",
        "Occurred": "2023-11-14 22:13:20Z",
        "Outcome": "succeeded",
        "Production": "yes",
        "State": "registered",
        "Attempts": "1",
        "Classification": "billable",
        "Billable": "yes",
    }


@pytest.mark.parametrize(
    ("state", "story", "status"),
    [
        (State.DEFERRED, "its work goes on, or nobody has said how it ended", 0),
        (State.PENDING, "It has been due since ", 0),
        (State.REGISTERED, "Registered at ", 0),
        (State.REJECTED, "`retry KEY` sends it again.", 1),
        (State.HELD, "`reconcile --counted KEY` forgets it.", 1),
    ],
)
def test_show_says_what_comes_next(state, story, status, run, outbox) -> None:
    """
    `show` says where the point stands; one that waits for a person is status 1.
    """
    bring(outbox, state, "key")

    ran = run("show", "key")
    assert (ran.status, story in ran.out) == (status, True)


def test_show_of_a_claimed_point(run, outbox) -> None:
    """
    A point that a deliverer has is shown as such.
    """
    outbox.add([point()])
    claim(outbox)

    assert "A deliverer has it now; others may take it from " in show(run)


def test_show_of_a_point_that_waits(run, outbox) -> None:
    """
    A point that is tried again says when, what went wrong and since when it may have been counted.
    """
    outbox.add([point()])
    [claimed] = claim(outbox)
    outbox.update([claimed.reschedule(600, "no answer", unanswered=True)])
    shown = show(run)

    assert "It is sent again at " in shown
    assert "Last error      no answer" in shown
    assert f"Unanswered      {datetime.now(UTC):%Y-%m-%d}" in shown


def test_show_names_the_pause(run, outbox) -> None:
    """
    A pending point is not sent while delivery is paused, and that is said; of others it is not.
    """
    bring(outbox, State.REGISTERED, "sent")
    outbox.add([point()])
    outbox.pause("web-1", "the API refused the licence key", 900)

    assert "Delivery is paused: web-1 has been paused since " in show(run)
    assert "paused" not in show(run, "sent")


def test_show_json(run, outbox) -> None:
    """
    As JSON `show` has what `list` has, the pauses, and whether the point is in the spill.
    """
    outbox.add([point()])

    assert json.loads(run("show", "key", "--json").out) == {
        **outbox.get("key").to_json(),
        "spilled": False,
        "pauses": [],
    }


def test_show_of_a_spilled_point(run, outbox, tmp_path, monkeypatch) -> None:
    """
    A point that waits in the spill is found there.
    """
    spill = SQLiteOutbox(tmp_path / "spill.sqlite3")
    monkeypatch.setenv("REMOTION_LICENSING_SPILL", f"sqlite:///{spill.path}")
    missing = run("show", "key").status
    spill.add([point()])
    spill.close()

    assert f"It is in the spill {spill!r}" in show(run)
    assert (missing, json.loads(run("show", "key", "--json").out)["spilled"]) == (2, True)


def test_show_of_no_point(run, outbox) -> None:
    """
    A key of no point is one line.
    """
    assert run("show", "typo") == (2, "", "error: show: no usage point has the key 'typo'\n")


@pytest.mark.parametrize(
    ("words", "status"), [([], 0), (["--max-age", "3h"], 0), (["--max-age", "90m"], 1), (["--max-age", "5399s"], 1)]
)
def test_status_with_a_maximal_age(words, status, run, outbox) -> None:
    """
    A pending point that is older than `--max-age` needs attention.
    """
    outbox.add([point(occurred_at=datetime.now(UTC) - timedelta(hours=2))])

    ran, as_json = run("status", *words), run("status", "--json", *words)

    assert (ran.status, "which is more than" in ran.out) == (status, bool(status))
    assert (as_json.status, json.loads(as_json.out)["attention"]) == (status, ["late"] * status)


def test_status_with_a_maximal_age_without_pending_points(run, outbox) -> None:
    """
    What is registered is not late.
    """
    bring(outbox, State.REGISTERED, "a")

    assert run("status", "--max-age", "0s").status == 0


@pytest.mark.parametrize("age", ["2", "-2h", "2 h", "h", "1.5h", "9" * 9 + "w"])
def test_status_refuses_an_age_that_is_none(age, run, outbox) -> None:
    """
    An age needs a number and a unit.
    """
    ran = run("status", f"--max-age={age}")

    assert (ran.status, f"expected a duration such as 30m, 2h or 7d, got '{age}'" in ran.err) == (2, True)


def test_status_json_says_what_needs_attention(run, outbox) -> None:
    """
    The reasons for status 1 are words that a script can look for.
    """
    bring(outbox, State.REJECTED, "a")
    bring(outbox, State.HELD, "b")
    outbox.add([point("c", succeeded=None)])
    outbox.pause("web-1", "HTTP 503", 900)

    assert json.loads(run("status", "--json").out)["attention"] == ["paused", "rejected", "held", "overdue"]


ANSWERS = {
    ("status",): {"deferred": 1, "pending": 0, "held": 1, "attention": ["held", "overdue"]},
    ("deliver", "--once"): {"registered": 0, "paused": None},
    ("complete", "job", "typo", "--failed"): {"completed": 1, "left": {"typo": "no usage point has this key"}},
    ("retry", "held", "job"): {"due": 1, "left": {"job": "the usage point is deferred, not rejected or held"}},
    ("prune",): {"deleted": 0},
    ("import", os.devnull): {"imported": 0, "unreadable": {}},
    ("usage",): {"cloud_renders": {"billable": 0, "development": 0, "failed": 0}},
    ("reconcile", "--counted", "held"): {"registered": 1, "left": {}},
    ("register", "cloud-render", "--idempotency-key", "k"): {
        "idempotency_key": "k",
        "billable": True,
        "classification": "billable",
    },
    ("doctor",): {"findings": ...},
}


@pytest.mark.parametrize("words", ANSWERS, ids=" ".join)
def test_json_of_a_command(words, run, outbox, api) -> None:
    """
    Every command answers with one JSON object, and with nothing else.
    """
    bring(outbox, State.HELD, "held")
    outbox.add([point("job", succeeded=None)])
    answer = json.loads(run(*words, "--json").out)

    assert {name: answer[name] if value is not ... else ... for name, value in ANSWERS[words].items()} == ANSWERS[words]


def test_json_of_reconcile(run, outbox, api) -> None:
    """
    The held points and the API's counts are in one object.
    """
    bring(outbox, State.HELD, "a")
    answer = json.loads(run("reconcile", "--json").out)

    assert [held["idempotency_key"] for held in answer["held"]] == ["a"]
    assert (answer["counts"][0]["event"], answer["counts"][0]["api"]) == ("cloud-render", 0)


def test_json_of_unreadable_lines(run, outbox, tmp_path) -> None:
    """
    Lines that cannot be imported are named with their reasons.
    """
    log = tmp_path / "app.log"
    log.write_text("remotion-usage-point\n")

    ran = run("import", str(log), "--json")
    assert (ran.status, json.loads(ran.out)["unreadable"].keys()) == (1, {f"{log}:1"})


def test_import_of_a_path_that_is_none(run) -> None:
    """
    A name that no file can have is one line, too.
    """
    assert run("import", "a\0b").err.startswith("error: import: 'a\\x00b' cannot be read: ")

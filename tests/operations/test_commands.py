"""
Each command against a real outbox file and, where it calls it, a real licensing server.
"""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from remotion_licensing_integrations.operations import cli
from remotion_licensing_integrations.outbox import MemoryOutbox, Outbox, SQLiteOutbox, State
from remotion_licensing_integrations.points.point import Registration
from remotion_licensing_integrations.recording import UsageRecorder
from tests.operations._keys import KEY
from tests.outbox._values import bring, point

PATIENCE = 20  # seconds for what must happen sooner or later


def state(outbox: SQLiteOutbox, key: str) -> State | None:
    stored = outbox.get(key)
    return stored and stored.state


def test_status_of_an_empty_outbox(run, outbox) -> None:
    """
    The counts of an empty outbox are zero, and nothing is said about old or held points.
    """
    ran = run("status")

    assert [line.split() for line in ran.out.splitlines()[3:]] == [
        ["STATE", "POINTS"],
        ["deferred", "0"],
        ["pending", "0"],
        ["registered", "0"],
        ["rejected", "0"],
        ["held", "0"],
    ]


def test_status_counts_by_state(run, outbox) -> None:
    """
    Points are counted by state.
    """
    bring(outbox, State.REGISTERED, "a", "b")
    bring(outbox, State.PENDING, "c")

    ran = run("status")

    assert ran.status == 0
    assert re.findall(r"^(\w+) +(\d+)$", ran.out, re.MULTILINE)[1:3] == [("pending", "1"), ("registered", "2")]


def test_status_names_outbox_and_api(run, outbox, file, refused) -> None:
    """
    The first lines say which outbox was looked at and where its points go.
    """
    assert run("status").out.splitlines()[:2] == [
        f"Outbox    SQLiteOutbox('{file.as_posix()}')",
        f"Delivery  worker to {refused}",
    ]


def test_status_says_how_old_the_oldest_pending_point_is(run, outbox) -> None:
    """
    A queue that stands still shows by the age of its oldest point.
    """
    outbox.add([point(occurred_at=datetime.now(UTC) - timedelta(hours=5, seconds=1))])

    assert "Oldest pending point: 5:00:0" in run("status").out


@pytest.mark.parametrize(
    ("where", "remedy"), [(State.REJECTED, "`retry` makes them due again"), (State.HELD, "`reconcile` says what to do")]
)
def test_status_says_what_to_do(where, remedy, run, outbox) -> None:
    """
    Points that wait for a person are pointed out with the commands that help, and are status 1.
    """
    bring(outbox, where, "a")

    ran = run("status")

    assert (ran.status, f"{where.capitalize()}: 1 point. See `list --state {where}`; {remedy}" in ran.out) == (1, True)


def test_status_lists_what_is_deferred_for_long(run, outbox) -> None:
    """
    Points deferred for more than a day are shown, with status 1, younger ones only counted.
    """
    now = datetime.now(UTC)
    outbox.add([point("old", succeeded=None, occurred_at=now - timedelta(days=1, minutes=1))])
    outbox.add([point("young", succeeded=None, occurred_at=now - timedelta(hours=23))])

    assert json.loads(run("status", "--json").out)["overdue"] == ["old"]
    status, shown, _ = run("status")
    assert ("old" in shown.split(), "young" in shown.split(), "deferred         2" in shown) == (True, False, True)
    assert status == 1


@pytest.fixture
def configured(monkeypatch) -> Callable[[Outbox], None]:
    """
    Let the settings name an outbox.
    """
    return lambda outbox: monkeypatch.setattr(cli, "UsageRecorder", partial(UsageRecorder, outbox=outbox))


@pytest.fixture
def paused(configured) -> None:
    """
    Let the settings name an outbox in which another process has marked its deliverer as paused.
    """
    outbox = MemoryOutbox(clock=lambda: 1_700_000_000.0)
    outbox.pause("web-1/4711", "the API refused the licence key", 900)
    configured(outbox)


def test_status_shows_who_is_paused(run, paused) -> None:
    """
    A paused deliverer of any process is shown with reason, beginning and next try, and is status 1.
    """
    ran = run("status")

    assert ran.status == 1
    assert (
        "Paused: web-1/4711 has been paused since 2023-11-14 22:13:20Z and tries again at 22:28:20Z: "
        "the API refused the licence key\n"
    ) in ran.out


def test_status_json_has_the_pauses(run, paused) -> None:
    """
    As JSON the pauses have the names of the contract, and the status is the same.
    """
    ran = run("status", "--json")

    assert ran.status == 1
    assert json.loads(ran.out)["pauses"] == [
        {
            "deliverer": "web-1/4711",
            "reason": "the API refused the licence key",
            "since": "2023-11-14T22:13:20+00:00",
            "until": "2023-11-14T22:28:20+00:00",
        }
    ]


def test_status_of_an_outbox_without_tables(run, configured, monkeypatch) -> None:
    """
    A store whose tables were never made is one line with the remedy, and status 2.
    """
    monkeypatch.setattr(MemoryOutbox, "exists", lambda _: False)
    configured(MemoryOutbox())

    ran = run("status")

    assert (ran.status, ran.err) == (
        2,
        (
            "error: outbox: MemoryOutbox() does not exist or has no tables; "
            "point --app, --outbox or REMOTION_LICENSING_OUTBOX at the app's outbox\n"
        ),
    )


@pytest.mark.parametrize(("how", "outcome"), [("--succeeded", True), ("--failed", False)])
def test_complete_ends_a_deferred_point(how, outcome, run, outbox) -> None:
    """
    A deferred point gets its outcome by hand, and is due then.
    """
    outbox.add([point("render-1", succeeded=None, host="https://myapp.com")])

    assert run("complete", "render-1", how).status == 0
    stored = outbox.get("render-1")
    assert (stored.state, stored.point.succeeded, stored.point.host) == (State.PENDING, outcome, "https://myapp.com")


def test_complete_forgets_what_never_began(run, outbox) -> None:
    """
    A deferred point can be let go.
    """
    outbox.add([point("render-1", succeeded=None)])

    assert run("complete", "render-1", "--forget").status == 0
    assert outbox.get("render-1") is None


@pytest.mark.parametrize("how", ["--succeeded", "--forget"])
def test_complete_leaves_other_points(how, run, outbox) -> None:
    """
    Only deferred points can be completed; other keys are status 1, and stay as they are.
    """
    bring(outbox, State.HELD, "held")
    before = outbox.list()

    assert run("complete", "held", "unknown", how)[:2] == (
        1,
        (
            "held: the usage point is held, not deferred.\n"
            "unknown: no usage point has this key.\n"
            "0 usage points no longer deferred.\n"
        ),
    )
    assert outbox.list() == before


def test_status_json(run, outbox) -> None:
    """
    The counts as JSON have the oldest pending moment in ISO form.
    """
    outbox.add([point()])

    assert json.loads(run("status", "--json").out) == {
        "deferred": 0,
        "pending": 1,
        "claimed": 0,
        "registered": 0,
        "rejected": 0,
        "held": 0,
        "oldest_pending": "2023-11-14T22:13:20+00:00",
        "oldest_deferred": None,
        "spilled": 0,
        "overdue": [],
        "pauses": [],
        "attention": [],
        "other_keys": {},
    }


def test_list_shows_the_facts_of_a_point(run, outbox) -> None:
    """
    Below the headings, a line has moment, state, key, event, host, outcome, attempts and the last error.
    """
    outbox.add([point("render-1", host="https://myapp.com", succeeded=False)])
    [claimed] = outbox.claim(1, lease=60)
    outbox.update([claimed.reject("RefusedError: no such host")])

    assert run("list").out.split() == [
        *("OCCURRED", "STATE", "KEY", "EVENT", "HOST", "OUTCOME", "ATTEMPTS", "RESULT"),
        *("2023-11-14", "22:13:20Z", "rejected", "render-1", "cloud-render", "https://myapp.com", "failed"),
        *("1", "RefusedError:", "no", "such", "host"),
    ]


def test_list_shows_the_classification(run, outbox) -> None:
    """
    A registered point shows what the API made of it.
    """
    bring(outbox, State.REGISTERED, "a")

    assert run("list").out.split()[-3:] == ["succeeded", "1", "billable"]


def test_list_prints_no_escape_sequences(run, outbox) -> None:
    """
    What a server has said is printed as text, one line for each point: a terminal does not obey it.
    """
    outbox.add([point("a"), point("b")])
    one, two = outbox.claim(2, lease=60)
    said = "a\nb\r\x1b[2J\x9b1m"
    outbox.update([one.reject(said), two.register(Registration(billable=True, classification=said))])

    ran = run("list")

    assert [line.isprintable() for line in ran.out.split("\n")] == [True] * 4
    assert ran.out.count(r"a\nb\r\x1b[2J\x9b1m") == 2


def test_list_is_newest_first(run, outbox) -> None:
    """
    The point that was stored last is the first line.
    """
    outbox.add([point("old"), point("new")])

    assert [line.split()[3] for line in run("list").out.splitlines()[1:]] == ["new", "old"]


def test_list_of_one_state(run, outbox) -> None:
    """
    `--state` leaves out all points in other states.
    """
    bring(outbox, State.HELD, "doubtful")
    outbox.add([point("waiting")])

    assert [line.split()[3] for line in run("list", "--state", "held").out.splitlines()[1:]] == ["doubtful"]


def test_list_limit(run, outbox) -> None:
    """
    `--limit` bounds the number of lines.
    """
    outbox.add([point(str(number)) for number in range(5)])

    assert len(run("list", "--limit", "3").out.splitlines()) == 1 + 3


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "1" * 30])
def test_list_refuses_a_limit_that_is_none(limit, run, outbox) -> None:
    """
    A limit that is not a sensible number is a usage error, not "everything" or a traceback.
    """
    ran = run("list", "--limit", limit)

    assert ran.status == 2
    assert "expected a whole number from 1 to 1000000" in ran.err


def test_list_json(run, outbox) -> None:
    """
    Each line is one JSON object that can be read back as the stored point.
    """
    outbox.add([point("a"), point("b")])

    found = [json.loads(line) for line in run("list", "--json").out.splitlines()]

    assert found == [stored.to_json() for stored in outbox.list()]


def test_deliver_once_registers(run, outbox, api) -> None:
    """
    What is due is registered, and the number is printed.
    """
    outbox.add([point("a"), point("b")])

    assert run("deliver", "--once") == (0, "2 usage points registered.\n", "")
    assert sorted(api.idempotency_keys()) == ["a", "b"]


def test_deliver_once_from_a_store_that_refuses(run, file) -> None:
    """
    An outbox that cannot be opened is one line, and status 2.
    """
    file.mkdir()
    ran = run("deliver", "--once")

    assert (ran.status, ran.err.startswith("error: outbox ")) == (2, True)


def test_deliver_once_settles(run, outbox, api) -> None:
    """
    A registered point keeps the API's classification.
    """
    outbox.add([point("a")])
    run("deliver", "--once")

    stored = outbox.get("a")
    assert stored is not None
    assert stored.registration == Registration(billable=True, classification="billable")


def test_deliver_paused(run, outbox, api) -> None:
    """
    A refused key ends with status 1 and the reason; the point stays pending.
    """
    outbox.add([point("a")])
    api.set_failure("key")

    ran = run("deliver", "--once")

    assert ran.status == 1
    assert (
        "Paused: the API refused the licence key; set the right one, then see `remotion-licensing status`." in ran.out
    )
    assert state(outbox, "a") is State.PENDING


def test_deliver_without_key(run, monkeypatch) -> None:
    """
    Without a licence key there is nothing to deliver with.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", "")
    monkeypatch.setenv("REMOTION_PRIVATE_LICENSE_KEY", "")

    ran = run("deliver", "--once")

    assert (ran.status, ran.err) == (
        2,
        "error: license_key: nothing can be delivered; set REMOTION_LICENSE_KEY or REMOTION_PRIVATE_LICENSE_KEY\n",
    )


def test_deliver_with_the_private_key(run, outbox, api, monkeypatch) -> None:
    """
    The private key alone is enough.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", "")
    monkeypatch.setenv("REMOTION_PRIVATE_LICENSE_KEY", KEY)
    outbox.add([point("a")])

    assert run("deliver", "--once") == (0, "1 usage point registered.\n", "")


def test_deliver_when_delivery_is_off(run, outbox, api, monkeypatch) -> None:
    """
    With delivery "off" nothing is ever sent, by this command either.
    """
    outbox.add([point("a")])
    monkeypatch.setenv("REMOTION_LICENSING_DELIVERY", "off")

    ran = run("deliver", "--once")

    assert (ran.status, api.requests) == (2, 0)


@contextmanager
def stopped_after_a_point(api) -> Generator[None]:
    """
    Send SIGTERM to this process when the API has counted a point.
    """

    def stop() -> None:
        api.wait_for(points=1, timeout=PATIENCE)
        signal.raise_signal(signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    yield
    thread.join()


def test_deliver_until_a_signal(run, outbox, api) -> None:
    """
    Without `--once` the command works until a signal, in a process that goes on afterwards.
    """
    outbox.add([point("a")])
    before = signal.getsignal(signal.SIGTERM)
    with stopped_after_a_point(api):
        ran = run("deliver")

    assert (ran.status, state(outbox, "a"), signal.getsignal(signal.SIGTERM)) == (0, State.REGISTERED, before)


def test_json_of_deliver(run, outbox, api, monkeypatch) -> None:
    """
    As JSON the command answers once, when it ends; it runs without a spill, too.
    """
    monkeypatch.setenv("REMOTION_LICENSING_SPILL", "off")
    outbox.add([point("a")])
    with stopped_after_a_point(api):
        ran = run("deliver", "--json")

    assert json.loads(ran.out) == {"registered": 1, "paused": None}


@pytest.mark.parametrize("where", [State.REJECTED, State.HELD])
def test_retry_by_key(where, run, outbox) -> None:
    """
    The named point is due again, the others stay.
    """
    bring(outbox, where, "a", "b")

    assert run("retry", "a") == (0, "1 usage point due again.\n", "")
    assert (state(outbox, "a"), state(outbox, "b")) == (State.PENDING, where)


def test_retry_all(run, outbox) -> None:
    """
    `--all` makes every rejected and held point due.
    """
    bring(outbox, State.REJECTED, "a")
    bring(outbox, State.HELD, "b")

    assert run("retry", "--all").out == "2 usage points due again.\n"


def test_retry_says_which_keys_it_leaves_out(run, outbox) -> None:
    """
    A key that is unknown, or of a point that the API has taken, is named with its reason and status 1; others are due.
    """
    bring(outbox, State.REGISTERED, "sent")
    bring(outbox, State.HELD, "held")

    assert run("retry", "sent", "held", "typo") == (
        1,
        (
            "sent: the usage point is registered, not rejected or held.\n"
            "typo: no usage point has this key.\n"
            "1 usage point due again.\n"
        ),
        "",
    )
    assert (state(outbox, "sent"), state(outbox, "held")) == (State.REGISTERED, State.PENDING)


@pytest.mark.parametrize("words", [[], ["a", "--all"]])
def test_retry_needs_keys_or_all(words, run, outbox) -> None:
    """
    Neither keys nor `--all`, or both, is an error that changes nothing.
    """
    bring(outbox, State.HELD, "a")

    assert run("retry", *words) == (2, "", "error: retry: pass idempotency keys, --all or --adopt FINGERPRINT\n")
    assert state(outbox, "a") is State.HELD


@pytest.fixture
def old(file) -> None:
    """
    Leave a point that was registered 40 days ago.
    """
    earlier = datetime.now(UTC).timestamp() - 40 * 86_400
    outbox = SQLiteOutbox(file, clock=lambda: earlier)
    bring(outbox, State.REGISTERED, "old")
    outbox.close()


@pytest.mark.parametrize(
    ("words", "deleted"),
    [([], "1 usage point"), (["--days", "39.5"], "1 usage point"), (["--days", "60"], "0 usage points")],
)
def test_prune(words, deleted, run, old) -> None:
    """
    Registered points older than `--days`, by default than the setting, are deleted.
    """
    assert run("prune", *words) == (0, f"{deleted} deleted.\n", "")


def test_prune_by_the_setting(run, old, monkeypatch) -> None:
    """
    Without `--days` the retention of the environment counts.
    """
    monkeypatch.setenv("REMOTION_LICENSING_RETENTION", "50")

    assert run("prune").out == "0 usage points deleted.\n"


@pytest.mark.parametrize("days", ["-1", "nan", "inf", "x"])
def test_prune_refuses_days_that_are_none(days, run, old) -> None:
    """
    A number of days that cannot be meant is a usage error: -1 would delete what was registered just now.
    """
    ran = run("prune", f"--days={days}")

    assert ran.status == 2
    assert f"expected a number of days, got '{days}'" in ran.err


@pytest.fixture
def spill(tmp_path, monkeypatch) -> SQLiteOutbox:
    """
    A spill with one point.
    """
    spill = SQLiteOutbox(tmp_path / "spill.sqlite3")
    spill.add([point("spilled")])
    spill.close()
    monkeypatch.setenv("REMOTION_LICENSING_SPILL", f"sqlite:///{spill.path}")
    return spill


def test_status_counts_spilled_points(run, outbox, spill) -> None:
    """
    Points that wait in the spill need attention, and status says where they are.
    """
    ran, as_json = run("status"), run("status", "--json")

    assert (ran.status, json.loads(as_json.out)["spilled"]) == (1, 1)
    assert f"Spilled: 1 point in {spill!r}" in ran.out


def test_deliver_once_moves_spilled_points(run, api, outbox, spill) -> None:
    """
    `deliver --once` moves the points of the spill to the outbox and registers them.
    """
    assert run("deliver", "--once").out == "1 usage point registered.\n"
    assert (state(outbox, "spilled"), spill.list()) == (State.REGISTERED, [])


def test_deliver_moves_spilled_points(run, api, outbox, spill) -> None:
    """
    `deliver` moves points of the spill to the outbox while it runs.
    """
    with stopped_after_a_point(api):
        run("deliver")

    assert state(outbox, "spilled") is State.REGISTERED

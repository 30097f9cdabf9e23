"""
The commands that compare with the licensing API or register with it directly.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from remotion_licensing_integrations.outbox import SQLiteOutbox, State
from tests.operations._keys import KEY, PRIVATE_KEY
from tests.outbox._values import bring

TABLE = re.compile(r"^(\w+ renders) +(\S+) +(\S+) +(\S+)$", re.MULTILINE)
REGISTERED = re.compile(r"Idempotency key: (\S+)\nRegistered. Classification: (\w+); billable: (\w+).\n")


def state(outbox: SQLiteOutbox, key: str) -> State | None:
    stored = outbox.get(key)
    return stored and stored.state


def numbers(text: str) -> dict[str, list[int]]:
    """
    Read the table of `usage`: billable, development and failed points of each kind.
    """
    return {found[1]: [int(number) for number in found.groups()[1:]] for found in TABLE.finditer(text)}


@pytest.fixture
def counted(run, api) -> None:
    """
    Let the API count one billable, one development and one failed point.
    """
    run("register", "cloud-render", "--host", "https://myapp.com")
    run("register", "cloud-render", "--development")
    run("register", "web-render", "--failed")


def test_usage(run, counted) -> None:
    """
    The table has the API's counts by event and classification.
    """
    ran = run("usage")

    assert ran.status == 0
    assert numbers(ran.out) == {"cloud renders": [1, 1, 0], "web renders": [0, 0, 1]}


def test_usage_with_a_key_in_a_file(run, counted, monkeypatch, tmp_path) -> None:
    """
    The private key may be in a file.
    """
    (tmp_path / "key").write_text(PRIVATE_KEY)
    monkeypatch.setenv("REMOTION_PRIVATE_LICENSE_KEY", "")
    monkeypatch.setenv("REMOTION_PRIVATE_LICENSE_KEY_FILE", str(tmp_path / "key"))

    assert run("usage").status == 0


def test_usage_json(run, counted) -> None:
    """
    As JSON the counts have the names of `models.Usage`.
    """
    found = json.loads(run("usage", "--json").out)

    assert found["cloud_renders"] == {"billable": 1, "development": 1, "failed": 0}


def test_usage_since(run, counted) -> None:
    """
    `--since` asks for counts from that moment on, in UTC unless it says otherwise.
    """
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()

    assert numbers(run("usage", "--since", tomorrow).out) == {"cloud renders": [0, 0, 0], "web renders": [0, 0, 0]}


def test_usage_since_with_offset(run, counted) -> None:
    """
    A moment with an offset is taken as it is.
    """
    earlier = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    assert numbers(run("usage", "--since", earlier).out)["cloud renders"] == [1, 1, 0]


def test_usage_since_too_long_ago(run, api) -> None:
    """
    What the API refuses is one line with its reason.
    """
    ran = run("usage", "--since", "2020-01-01")

    assert (ran.status, ran.err) == (2, "error: HTTP 400: Cannot query usage older than 90 days\n")


def test_usage_since_no_date(run) -> None:
    """
    What is no date is a usage error that shows how one is written.
    """
    ran = run("usage", "--since", "yesterday")

    assert ran.status == 2
    assert "--since: expected an ISO date such as 2026-01-31, or 2h for two hours ago, got 'yesterday'" in ran.err


@pytest.mark.parametrize("words", [["usage"], ["reconcile"]])
def test_usage_without_private_key(words, run, outbox, monkeypatch) -> None:
    """
    Counts cannot be read without the private key, and the error names its variable.
    """
    monkeypatch.setenv("REMOTION_PRIVATE_LICENSE_KEY", "")

    ran = run(*words)

    assert (ran.status, ran.err) == (
        2,
        "error: private_license_key: set REMOTION_PRIVATE_LICENSE_KEY to read usage\n",
    )


@pytest.mark.parametrize("words", [["usage"], ["reconcile"]])
def test_private_key_that_the_api_refuses(words, run, outbox, api) -> None:
    """
    A command that reads usage names the key that the API refuses.
    """
    api.set_failure("key")
    ran = run(*words)

    assert ran.status == 2
    assert ran.err.startswith("error: private_license_key: the API refuses it (HTTP 401: Invalid API key); copy it")


def test_reconcile_registers_counted_points(run, outbox) -> None:
    """
    `--counted` makes the named held points registered and asks the API nothing.
    """
    bring(outbox, State.HELD, "a", "b")

    assert run("reconcile", "--counted", "a") == (0, "1 usage point registered.\n", "")
    assert (state(outbox, "a"), state(outbox, "b")) == (State.REGISTERED, State.HELD)


@pytest.mark.parametrize("where", [State.PENDING, State.REJECTED])
def test_reconcile_keeps_points_that_are_not_held(where, run, outbox) -> None:
    """
    A point that is still to be delivered, or was refused, is not made registered; nor can an unknown one: status 1.
    """
    bring(outbox, where, "a")

    assert run("reconcile", "--counted", "a", "typo") == (
        1,
        f"a: the usage point is {where}, not held.\ntypo: no usage point has this key.\n0 usage points registered.\n",
        "",
    )
    assert state(outbox, "a") is where


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], ("billable", "yes")),
        (["--host", "http://localhost:3000"], ("development", "no")),
        (["--failed"], ("failed", "no")),
        (["--development"], ("development", "no")),
    ],
)
def test_register(words, answer, run, api) -> None:
    """
    The answer is printed: how the API classifies the point, and whether it bills it.
    """
    ran = run("register", "cloud-render", *words)

    found = REGISTERED.fullmatch(ran.out)
    assert found is not None
    assert (ran.status, found.groups()[1:]) == (0, answer)


def test_register_sends_what_it_is_told(run, api) -> None:
    """
    Event, host, outcome, flags and key go out as given.
    """
    words = ["--host", "https://myapp.com", "--failed", "--still", "--development", "--idempotency-key", "render-7"]
    run("register", "web-render", *words)

    [sent] = api.points()
    assert (sent.event, sent.host, sent.idempotency_key) == ("web-render", "https://myapp.com", "render-7")
    assert (sent.succeeded, sent.is_still, sent.is_production) == (False, True, False)


def test_register_prints_its_key(run, api) -> None:
    """
    The key that was made for the point is printed, so that the same point can be sent again.
    """
    found = REGISTERED.fullmatch(run("register", "cloud-render").out)

    assert found is not None
    assert api.idempotency_keys() == [found[1]]


def test_register_by_the_settings(run, api, monkeypatch) -> None:
    """
    Host and production follow the environment where no option says otherwise.
    """
    monkeypatch.setenv("REMOTION_LICENSING_HOST", "https://myapp.com")
    monkeypatch.setenv("REMOTION_LICENSING_IS_PRODUCTION", "no")
    run("register", "cloud-render")

    [sent] = api.points()
    assert (sent.host, sent.is_production) == ("https://myapp.com", False)


def test_register_with_the_free_licence(run, api, monkeypatch) -> None:
    """
    The free licence registers too.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", "free-license")
    run("register", "cloud-render")

    assert [sent.project for sent in api.points()] == ["free-license"]


def test_register_refuses_a_host_that_is_no_origin(run, api) -> None:
    """
    A host that no browser would send is refused before anything goes out.
    """
    ran = run("register", "cloud-render", "--host", "myapp.com")

    assert (ran.status, api.requests) == (2, 0)
    assert ran.err.startswith("error: host: 'myapp.com' is not an origin")


def test_register_makes_no_outbox(run, api, file) -> None:
    """
    Registering directly leaves no file behind.
    """
    run("register", "cloud-render")

    assert not file.exists()


def test_register_without_key(run, monkeypatch) -> None:
    """
    Without a licence key nothing can be registered, and the error names its variable.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", "")
    monkeypatch.setenv("REMOTION_PRIVATE_LICENSE_KEY", "")

    assert run("register", "cloud-render") == (
        2,
        "",
        "error: license_key: set REMOTION_LICENSE_KEY or REMOTION_PRIVATE_LICENSE_KEY to register usage points\n",
    )


def test_register_with_the_private_key_only(run, api, monkeypatch) -> None:
    """
    Where only the private key is set, it registers and delivers.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", "")
    monkeypatch.setenv("REMOTION_PRIVATE_LICENSE_KEY", KEY)

    assert (run("register", "cloud-render").status, run("deliver", "--once").status) == (0, 0)


def test_register_with_a_refused_key(run, api) -> None:
    """
    A key that the API refuses is one line with the API's reason.
    """
    api.set_failure("key")
    ran = run("register", "cloud-render")

    assert (ran.status, ran.err) == (2, "error: HTTP 401: Invalid API key\n")


def test_register_an_unknown_event(run) -> None:
    """
    An event that the API does not know is a usage error.
    """
    assert run("register", "coffee").status == 2

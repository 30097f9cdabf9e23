"""
`manage.py remotion_licensing` over the project's outbox.
"""

from __future__ import annotations

import json
import os
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from remotion_licensing_integrations.django.models import UsagePointRecord
from remotion_licensing_integrations.django.outbox import DjangoOutbox
from remotion_licensing_integrations.outbox import State
from remotion_licensing_integrations.points.logline import LOG_MARK
from remotion_licensing_integrations.testing import Sandbox
from tests.outbox._values import REGISTRATION, bring, claim, keys, moment, point

pytestmark = pytest.mark.django_db


@pytest.fixture
def outbox():
    return DjangoOutbox("default")


@pytest.fixture
def sandbox(settings):
    with Sandbox() as sandbox:
        settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, "BASE_URL": sandbox.url}
        yield sandbox


def run(*arguments, status=0):
    """
    Run a command and return what it prints; *status* is what it ends with.
    """
    output = StringIO()
    ended = 0
    try:
        call_command("remotion_licensing", *arguments, stdout=output, stderr=output, no_color=True)
    except SystemExit as error:
        ended = error.code
    assert ended == status, output.getvalue()
    return output.getvalue()


def test_status(outbox):
    """
    `status` shows the project's outbox and how many points are in each state.
    """
    bring(outbox, State.HELD, "held")
    outbox.add([point()])

    assert "Outbox    DjangoOutbox('default')" in run("status", status=1)
    assert json.loads(run("status", "--json", status=1))["held"] == 1


def test_list(outbox):
    """
    `list` shows the latest points of a state.
    """
    bring(outbox, State.REJECTED, "rejected")
    outbox.add([point()])

    assert [json.loads(line)["idempotency_key"] for line in run("list", "--json").splitlines()] == ["key", "rejected"]
    assert "rejected" in run("list", "--state", "rejected", "--limit", "1")


def test_deliver(outbox, sandbox):
    """
    `deliver --once` registers what is due, and keeps the answer.
    """
    outbox.add([point(host="https://myapp.com")])

    assert run("deliver", "--once") == "1 usage point registered.\n"
    assert sandbox.idempotency_keys() == ["key"]
    assert outbox.get("key").registration == REGISTRATION


def test_deliver_with_a_refused_key(outbox, sandbox, settings):
    """
    `deliver --once` ends with status 1 when delivery is paused, and the point stays.
    """
    settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, "LICENSE_KEY": "wrong"}
    outbox.add([point()])

    assert "Paused:" in run("deliver", "--once", status=1)
    assert outbox.get("key").state is State.PENDING


def test_retry(outbox):
    """
    `retry` makes rejected points due again.
    """
    bring(outbox, State.REJECTED, "one", "two")

    assert run("retry", "one") == "1 usage point due again.\n"
    assert run("retry", "--all") == "1 usage point due again.\n"
    assert len(claim(outbox)) == 2


def test_prune(outbox):
    """
    `prune` deletes what was registered long enough ago.
    """
    bring(outbox, State.REGISTERED, "old")
    UsagePointRecord.objects.update(due=0)

    assert run("prune", "--days", "1") == "1 usage point deleted.\n"


def test_import(outbox, tmp_path):
    """
    `import` stores the points that only a log has.
    """
    log = tmp_path / "app.log"
    log.write_text(f"CRITICAL {LOG_MARK} {json.dumps(point().to_json())}\nINFO nothing\n")

    assert run("import", str(log)).startswith("1 usage point in")
    assert keys(outbox.list()) == ["key"]


def test_doctor(sandbox):
    """
    `doctor` finds nothing that must be mended.
    """
    assert "\n0 errors, " in run("doctor")


def test_doctor_names_the_views(sandbox):
    """
    `doctor` names each kind of view that counts, with its path and its event.
    """
    said = run("doctor")

    for line in (
        "/sync/<str:outcome> (tests.django.project.views.convert) counts as cloud-render.",
        "POST /class (tests.django.project.views.Convert.post) counts as cloud-render.",
        "POST /rest/class (tests.django.project.rest_views.Convert.post) counts as cloud-render.",
        "tests.django.project.rest_views.Videos.convert) counts as cloud-render.",
        "/accepted (tests.django.project.views.accepted) answers 202, but its code does not call",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("order", "name"), [([1], "middleware_missing"), ([0, 0], "middleware_twice"), ([0, 1], "middleware_not_innermost")]
)
def test_doctor_looks_at_the_middleware(sandbox, settings, order, name):
    """
    `doctor` says what is wrong with the project's middleware.
    """
    choice = [settings.MIDDLEWARE[-1], "django.middleware.common.CommonMiddleware"]
    settings.MIDDLEWARE = [choice[index] for index in order]

    assert f"[{name}]" in run("doctor", status=int(name == "middleware_missing"))


@pytest.mark.parametrize("urls", [None, "tests.nowhere"])
def test_doctor_without_views(sandbox, settings, urls):
    """
    Without URLs, or with broken ones, which Django reports, there is no view to name.
    """
    settings.ROOT_URLCONF = urls

    assert "[endpoint]" not in run("doctor")


@pytest.mark.parametrize("arguments", [["retry"], ["import", "/nowhere"]])
def test_mistakes(arguments):
    """
    What cannot be done is one line on standard error, and status 2.
    """
    assert run(*arguments, status=2).startswith("error: ")


def test_unusable_settings(settings):
    """
    Unusable settings are an error of the command, which names the field.
    """
    settings.REMOTION_LICENSING = {"TIMEOUT": "soon"}

    with pytest.raises(CommandError, match="timeout"):
        run("status")


def test_doctor_knows_what_the_project_trusts(sandbox):
    """
    Without `ALLOWED_HOSTS` of our own the project's hold, so that callers cannot name any host.
    """
    assert "Neither host nor allowed_hosts" not in run("doctor")


def test_show(outbox):
    """
    `show` tells all about one point.
    """
    bring(outbox, State.HELD, "held")

    assert "State           held" in run("show", "held", status=1)
    assert json.loads(run("show", "held", "--json", status=1))["attempts"] == 1


def test_list_by_conditions(outbox):
    """
    `list` finds points by when they occurred, in the project's database, too.
    """
    outbox.add([point("a"), point("b", event="web-render", occurred_at=moment(60))])

    words = ["--since", moment(60).isoformat(), "--event", "web-render", "--json"]
    assert [json.loads(line)["idempotency_key"] for line in run("list", *words).splitlines()] == ["b"]


def test_no_color(outbox, monkeypatch):
    """
    `--no-color` holds for tables as well.
    """
    monkeypatch.delenv("NO_COLOR", raising=False)
    run("status")

    assert os.environ["NO_COLOR"]
    call_command("remotion_licensing", "status", stdout=StringIO(), stderr=StringIO())

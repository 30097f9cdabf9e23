"""
Jobs and blocks of code in a Django project: recorder and outbox are the project's own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db import transaction

from remotion_licensing_integrations import current_usage, default_recorder
from remotion_licensing_integrations.django import conversion, conversion_job
from remotion_licensing_integrations.django import recorder as recorder_module
from remotion_licensing_integrations.django.models import UsagePointRecord
from remotion_licensing_integrations.points.point import UsagePoint
from remotion_licensing_integrations.points.token import encode_token
from tests.django._kinds import CLIENTS, outcomes, request

KINDS = pytest.mark.parametrize("kind", CLIENTS)

TOKEN = encode_token(UsagePoint(event="web-render", host="https://myapp.com", succeeded=None, idempotency_key="key"))

pytestmark = pytest.mark.django_db(transaction=True)


@conversion_job("cloud-render")
def render(fails: bool = False) -> str:  # noqa: FBT001, FBT002 - a job's plain argument
    """
    A job that may fail.
    """
    if fails:
        msg = "broken"
        raise ValueError(msg)
    return "video"


def test_default_recorder_is_the_projects() -> None:
    """
    Code that was given no recorder has the one of the project's middleware.
    """
    assert default_recorder() is recorder_module.get_recorder()


@KINDS
def test_deferred_request_and_its_job(kind) -> None:
    """
    A request that puts its work off leaves a deferred point, to which the job brings the outcome.
    """
    token = request(kind, "post", "/deferred").json()["token"]
    before = outcomes()
    render(usage_token=token)

    assert (before, outcomes()) == ([None], [True])


def test_failing_job() -> None:
    """
    A job that raises leaves a failed point.
    """
    with pytest.raises(ValueError, match="broken"):
        render(fails=True, usage_token=TOKEN)

    assert outcomes() == [False]


def test_skipped_job_in_an_async_view(monkeypatch) -> None:
    """
    Synchronous code in an event loop, where Django refuses its database, can end a deferral.
    """
    monkeypatch.setattr(recorder_module, "is_test_run", lambda: False)
    default_recorder().outbox.add([UsagePoint(event="web-render", host=None, succeeded=None, idempotency_key="key")])

    @conversion_job("cloud-render")
    def skip() -> None:
        current_usage().skip()

    async def view() -> None:
        skip(usage_token=TOKEN)

    asyncio.run(view())
    recorder_module.get_recorder.forget()

    assert outcomes() == []


def test_block_outlives_the_transaction_around_it(monkeypatch) -> None:
    """
    A conversion that has happened counts, though the code around it is rolled back.
    """
    monkeypatch.setattr(recorder_module, "is_test_run", lambda: False)
    with transaction.atomic(), conversion("cloud-render"):
        transaction.set_rollback(True)
    recorder_module.get_recorder.forget()

    assert outcomes() == [True]


@pytest.fixture
def tasks(settings) -> Any:
    """
    Django's own tasks, run at once.
    """
    tasks = pytest.importorskip("django.tasks", reason="Django 6 has tasks")
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    return tasks


@pytest.mark.parametrize(("fails", "outcome"), [(False, True), (True, False)])
def test_task(tasks, fails, outcome) -> None:
    """
    A task of Django takes the token beside its own arguments.
    """
    task = tasks.task(render)
    task.enqueue(fails=fails, usage_token=TOKEN)

    assert [(each.idempotency_key, each.succeeded) for each in UsagePointRecord.objects.all()] == [("key", outcome)]


@KINDS
def test_fixture_of_the_plugin(kind, remotion_usage) -> None:
    """
    With `remotion_usage` the points of a project go to the test instead of the database.
    """
    request(kind, "post", "/sync/200")

    assert ([point.succeeded for point in remotion_usage.points], outcomes()) == ([True], [])

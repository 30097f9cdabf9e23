"""
The views for webhooks in a Django project, synchronous and asynchronous.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.http import HttpResponse
from django.http.request import UnreadablePostError
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from remotion_licensing_integrations import default_recorder
from remotion_licensing_integrations.django import recorder as recorder_module
from remotion_licensing_integrations.django.models import UsagePointRecord
from remotion_licensing_integrations.django.webhooks import aremotion_webhook, remotion_webhook
from remotion_licensing_integrations.errors import ConfigurationError
from tests._asgi import exchange
from tests._webhooks import DEFERRED, PATH, SECRET, SIGNED, golden, payload, signed, with_token
from tests.django._kinds import CLIENTS, outcomes

pytestmark = pytest.mark.django_db
COMMITTED = pytest.mark.django_db(transaction=True)

VIEWS = {"sync": remotion_webhook, "async": aremotion_webhook}
Post = Callable[..., Any]


@pytest.fixture(params=CLIENTS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def post(kind: str, settings) -> Post:
    """
    Post a webhook to a view with these options, past the protection from forged requests.
    """
    settings.MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware", *settings.MIDDLEWARE]

    def post(
        body: bytes, headers: dict[str, str], *, method: str = "POST", secret: str = SECRET, **options: Any
    ) -> Any:
        settings.ROOT_URLCONF = (path(PATH.removeprefix("/"), VIEWS[kind](secret, **options)),)
        client = {"sync": Client, "async": AsyncClient}[kind](raise_request_exception=False, enforce_csrf_checks=True)
        request = (method, PATH, body, "application/json")

        async def send() -> Any:
            return await client.generic(*request, headers=headers)

        return client.generic(*request, headers=headers) if kind == "sync" else async_to_sync(send)()

    return post


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case["name"])
def test_golden(case, post):
    """
    What Remotion's own sender puts on the wire is recorded.
    """
    body, headers = golden(case)
    response = post(body, headers, secret=case["secret"])

    assert (response.status_code, response.json()) == (200, {"success": True})
    assert outcomes() == [headers["X-Remotion-Status"] == "success"]


def test_deferred_point(post):
    """
    A deferred point waits in the project's database until the webhook brings its outcome.
    """
    default_recorder().record(DEFERRED)
    before = UsagePointRecord.objects.get().state
    post(*signed(with_token()))
    after = UsagePointRecord.objects.get()

    assert (before, after.state, after.succeeded) == ("deferred", "pending", True)


@pytest.mark.parametrize("content", [payload(), with_token()])
def test_repeats(content, post):
    """
    A webhook that comes again counts once.
    """
    for _ in range(3):
        assert post(*signed(content)).status_code == 200

    assert outcomes() == [True]


@COMMITTED
def test_failures_are_not_reported(post, settings):
    """
    Where failures are not reported, the deferral of a failed render goes.
    """
    settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, "REPORT_FAILURES": False}
    default_recorder().record(DEFERRED)

    assert post(*signed(with_token("error"))).status_code == 200
    assert not UsagePointRecord.objects.exists()


@pytest.mark.parametrize("headers", [{}, {"X-Remotion-Signature": "sha512=é"}])
def test_wrong_signature(headers, post):
    """
    Without a right signature a request is refused, and nothing recorded.
    """
    assert post(signed(payload())[0], headers).status_code == 401
    assert outcomes() == []


@pytest.mark.parametrize("content", [b"not JSON", [1], {"type": "success"}])
def test_malformed(content, post):
    """
    A signed body that is no webhook is a bad request, and nothing recorded.
    """
    assert post(*signed(content)).status_code == 400
    assert outcomes() == []


def test_demo(post):
    """
    A demo is answered, and neither recorded nor given to the project.
    """
    assert post(*signed(payload(), mode="demo"), on_webhook=lambda _: 1 / 0).status_code == 200
    assert outcomes() == []


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_method(method, post):
    """
    Other methods are refused as Django does it.
    """
    response = post(*signed(payload()), method=method)

    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_long_body(post):
    """
    A body over the view's limit is refused.
    """
    assert post(*signed(payload()), max_body=20).status_code == 413
    assert outcomes() == []


def test_body_over_the_limit_of_django(post, settings):
    """
    A body over `DATA_UPLOAD_MAX_MEMORY_SIZE` is refused likewise.
    """
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 20

    assert post(*signed(payload())).status_code == 413
    assert outcomes() == []


def test_chunked_body(kind, settings):
    """
    A body without a length is held to the limit, too.
    """
    settings.ROOT_URLCONF = (path(PATH.removeprefix("/"), VIEWS[kind](SECRET, max_body=100)),)
    answer = exchange(ASGIHandler(), path=PATH, body=[b"x" * 40] * 3, headers={"Host": "testserver"})

    assert answer.status == 413


@pytest.mark.parametrize("reading", ["broken", "read already"])
def test_unreadable_body(reading, monkeypatch):
    """
    A body that breaks off, or that something else has taken from the stream, is a bad request.
    """
    request = RequestFactory().post(PATH, *signed(payload())[:1], content_type="application/json")
    if reading == "broken":
        monkeypatch.setattr(type(request), "body", property(lambda _: _raise(UnreadablePostError())))
    else:
        request.read(1)

    assert remotion_webhook(SECRET)(request).status_code == 400


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("asynchronous", [False, True])
def test_on_webhook(asynchronous, post):
    """
    The project's own work gets the payload, and may use the database as in any view.
    """
    seen = []

    def work(content):
        seen.append((content, LogEntry.objects.count()))

    async def work_async(content):
        seen.append((content, await LogEntry.objects.acount()))

    assert post(*signed(payload()), on_webhook=work_async if asynchronous else work).status_code == 200
    assert seen == [(payload(), 0)]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_failing_work(asynchronous, post):
    """
    When the project's own work fails Django answers 500, and the point stays.
    """

    def fail(_):
        raise RuntimeError

    async def fail_async(_):
        raise RuntimeError

    assert post(*signed(payload()), on_webhook=fail_async if asynchronous else fail).status_code == 500
    assert outcomes() == [True]


@pytest.fixture
def production(monkeypatch):
    """
    The recorder of production, with a thread of its own.
    """
    monkeypatch.setattr(recorder_module, "is_test_run", lambda: False)


@COMMITTED
def test_production(production, post):
    """
    The recorder of production has committed the point when the answer comes.
    """
    assert post(*signed(payload())).status_code == 200
    assert outcomes() == [True]


@COMMITTED
@pytest.mark.parametrize("kind", ["sync"], indirect=True)
def test_atomic_requests(production, post, monkeypatch):
    """
    With ATOMIC_REQUESTS failing work is rolled back, and the point stays.
    """
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)  # noqa: FBT003 - as declared

    def work(_):
        UsagePointRecord.objects.create(event="cloud-render", succeeded=True, idempotency_key="of-the-work")
        raise RuntimeError

    assert post(*signed(payload()), on_webhook=work).status_code == 500
    assert [row.idempotency_key for row in UsagePointRecord.objects.all()] == ["remotion-lambda-abcdefghij"]


def test_refusing_store(post, make_recorder, slow_outbox):
    """
    While the store refuses, the webhook shall come again; the project still learns of its render.
    """
    slow_outbox.refuses = True
    seen = []
    response = post(*signed(payload()), recorder=make_recorder(), on_webhook=seen.append)

    assert (response.status_code, seen) == (503, [payload()])


def test_inline(post, make_recorder, monkeypatch):
    """
    With delivery "inline" what is due is delivered when the server closes the response.
    """
    recorder, delivered = make_recorder(delivery="inline", timeout=3), threading.Event()
    monkeypatch.setattr(recorder, "deliver", lambda _: delivered.set())
    seen = []
    close = HttpResponse.close
    monkeypatch.setattr(HttpResponse, "close", lambda response: (seen.append(delivered.is_set()), close(response)))
    post(*signed(payload()), recorder=recorder)

    assert (seen, delivered.is_set()) == ([False], True)


@pytest.mark.parametrize("make_view", VIEWS.values())
def test_unusable_secret(make_view):
    """
    Without a secret the project does not start.
    """
    with pytest.raises(ConfigurationError, match="REMOTION_WEBHOOK_SECRET"):
        make_view()

"""
Which requests of a Django project become usage points, and with which outcome.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from contextlib import suppress

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished
from django.db import close_old_connections
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory

from remotion_licensing_integrations.django import recorder as recorder_module
from remotion_licensing_integrations.django.middleware import UsageMiddleware
from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.recording import Keeper, UsageRecorder
from remotion_licensing_integrations.usage import Settlement, current_usage
from tests.django._kinds import CLIENTS, outcomes, request
from tests.django.project import views

pytestmark = pytest.mark.django_db
KINDS = pytest.mark.parametrize("kind", CLIENTS)

#: One of each kind of view that can be decorated.
VIEWS = [
    "/sync/200",
    "/async/200",
    "/class",
    "/dispatch",
    "/aclass",
    "/rest/function",
    "/rest/class",
    "/rest/videos/convert/",
    "/ninja/sync",
    "/ninja/async",
]


@pytest.fixture
def gates():
    """
    Closed gates for slow views, opened when the test ends.
    """
    for gate in (views.entered, views.gate):
        gate.clear()
    yield
    views.gate.set()


@KINDS
@pytest.mark.parametrize("path", VIEWS)
def test_every_kind_of_view(kind, path):
    """
    A conversion counts as succeeded, whatever kind its view is of.
    """
    response = request(kind, "post", path)

    assert response.status_code == 200
    assert outcomes() == [True]


@KINDS
@pytest.mark.parametrize("view", ["sync", "async"])
@pytest.mark.parametrize(
    ("outcome", "status"), [("missing", 404), ("denied", 403), ("crash", 500), ("400", 400), ("503", 503)]
)
def test_entered_and_failed(kind, view, outcome, status):
    """
    A view that was entered and did not succeed counts as failed.
    """
    assert request(kind, "post", f"/{view}/{outcome}").status_code == status
    assert outcomes() == [False]


@KINDS
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("post", "/nowhere", 404),
        ("get", "/aclass", 405),
        ("get", "/rest/class", 405),
        ("post", "/rest/forbidden", 403),
        ("post", "/ninja/sync?quality=high", 422),
        ("get", "/ninja/async", 405),
        ("get", "/plain", 200),
        ("get", "/class", 200),
        ("options", "/class", 200),
    ],
)
def test_not_entered(kind, method, path, status):
    """
    A request that never came to a decorated view is not counted.
    """
    assert request(kind, method, path).status_code == status
    assert outcomes() == []


@KINDS
@pytest.mark.parametrize("method", ["head", "options"])
def test_methods_that_convert_nothing(kind, method):
    """
    HEAD and OPTIONS are answered by function views, too, but are no conversions.
    """
    request(kind, method, "/sync/200")

    assert outcomes() == []


@KINDS
@pytest.mark.parametrize("status", ["206", "304"])
def test_statuses_of_old_results(kind, status):
    """
    A part of a file, or the news that nothing changed, is no conversion.
    """
    request(kind, "get", f"/sync/{status}")

    assert outcomes() == []


@KINDS
def test_accepted_without_deferring(kind, caplog):
    """
    202 without a token records nothing, and says so once.
    """
    request(kind, "post", "/accepted")
    request(kind, "post", "/accepted")

    assert outcomes() == []
    assert [record.action for record in caplog.records if hasattr(record, "action")] == ["accepted_without_defer"]


@KINDS
def test_other_view_that_accepts(kind, caplog):
    """
    202 of a view that is not decorated is nobody's mistake.
    """
    assert request(kind, "post", "/other").status_code == 202
    assert caplog.records == []


@KINDS
def test_deferred(kind):
    """
    A deferred point is recorded where its token is completed.
    """
    token = request(kind, "post", "/deferred").json()["token"]
    before = outcomes()
    recorder_module.get_recorder().complete(token, succeeded=True)

    assert (before, outcomes()) == ([None], [True])


@KINDS
def test_middleware_twice(kind, settings):
    """
    With the middleware in the list twice a conversion still counts once.
    """
    settings.MIDDLEWARE = [settings.MIDDLEWARE[-1]] * 2
    request(kind, "post", "/sync/200")

    assert outcomes() == [True]


@KINDS
@pytest.mark.parametrize("view", ["sync", "async"])
def test_propagated_exceptions(kind, view, settings):
    """
    An exception that Django lets through counts as failed, and goes on.
    """
    settings.DEBUG_PROPAGATE_EXCEPTIONS = True

    with pytest.raises(RuntimeError):
        request(kind, "post", f"/{view}/crash")
    assert outcomes() == [False]


# Streams


@pytest.mark.parametrize(("kind", "path"), [("sync", "/stream"), ("async", "/astream")])
def test_stream(kind, path):
    """
    A stream counts when its last byte has been sent.
    """
    request(kind, "get", f"{path}/whole")

    assert outcomes() == [True]


@pytest.mark.parametrize(("kind", "path"), [("sync", "/stream"), ("async", "/astream")])
def test_stream_breaks_off(kind, path):
    """
    A stream that breaks off counts as failed, though its status was 200.
    """
    with pytest.raises(RuntimeError):
        request(kind, "get", f"{path}/crash")
    assert outcomes() == [False]


@pytest.mark.parametrize(("kind", "path"), [("sync", "/astream"), ("async", "/stream")])
@pytest.mark.parametrize("outcome", ["whole", "crash"])
def test_stream_of_the_other_kind(kind, path, outcome):
    """
    A stream that Django has to adapt to the server counts with its outcome, too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Django advises against it
        with suppress(RuntimeError):
            request(kind, "get", f"{path}/{outcome}")

    assert outcomes() == [outcome == "whole"]


def test_stream_is_not_counted_early():
    """
    Before the last byte nothing is recorded.
    """
    response = serve(lambda request: views.stream(request, "whole"))
    next(iter(response))

    assert outcomes() == []


def serve(view):
    """
    Return the response of *view* as a server gets it; the test client wraps streams.
    """
    return UsageMiddleware(view)(RequestFactory().get("/"))


def close(response):
    """
    Close *response* as a server does, but leave the test its connection.
    """
    request_finished.disconnect(close_old_connections)
    response.close()
    request_finished.connect(close_old_connections)


@pytest.mark.parametrize("stream", [views.stream, async_to_sync(views.astream)])
@pytest.mark.parametrize("report", [False, True])
def test_stream_closed_early(stream, report, settings):
    """
    A stream that the server closes before its end was aborted, which is reported on demand only.
    """
    settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, "REPORT_ABORTED": report}
    response = serve(lambda request: stream(request, "whole"))
    close(response)
    close(response)

    assert outcomes() == ([False] if report else [])


def test_stream_closed_after_its_end():
    """
    That the server closes a stream which it has sent changes nothing.
    """
    response = serve(lambda request: views.stream(request, "whole"))
    b"".join(response)
    close(response)

    assert outcomes() == [True]


def test_stream_cancelled(settings):
    """
    An asynchronous stream that is cancelled because the client has gone was aborted.
    """
    settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, "REPORT_ABORTED": True}

    with pytest.raises(asyncio.CancelledError):
        request("async", "get", "/astream/gone")
    assert outcomes() == [False]


def test_file_stays_a_file():
    """
    A file goes to the server as it is, and counts when the view has returned it.
    """
    response = serve(views.file)

    assert isinstance(response, FileResponse)
    assert response.file_to_stream is not None
    assert outcomes() == [True]
    close(response)


def test_uncounted_stream_is_left_alone():
    """
    The body of a response that does not count is not wrapped.
    """
    body = iter([b"news"])
    response = UsageMiddleware(lambda _: StreamingHttpResponse(body))(RequestFactory().get("/"))

    assert response._iterator is body


# Chains


def test_no_hop_in_the_synchronous_chain():
    """
    Under WSGI a synchronous view runs in the server's own thread.
    """
    assert Client().get("/thread").content.decode() == str(threading.get_ident())


def test_no_hop_in_the_asynchronous_chain(settings):
    """
    Under ASGI an asynchronous view runs in the thread of the event loop.
    """
    settings.MIDDLEWARE = [settings.MIDDLEWARE[-1]]

    async def ask():
        response = await AsyncClient().get("/athread")
        return response.content.decode(), str(threading.get_ident())

    view, loop = async_to_sync(ask)()
    assert view == loop


def test_middleware_is_as_its_chain():
    """
    The middleware is asynchronous in an asynchronous chain, and only there.
    """

    async def respond(request):
        return HttpResponse()

    assert iscoroutinefunction(UsageMiddleware(respond))
    assert not iscoroutinefunction(UsageMiddleware(lambda request: HttpResponse()))


def test_usage_ends_with_its_request():
    """
    After a request the current usage is connected to nothing.
    """
    Client().post("/sync/200")

    assert current_usage().event is None


# Clients that leave


async def _leave(path):
    """
    Send a request to the project's ASGI app, and go away while the view runs.
    """
    gone = asyncio.Event()
    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive():
        for message in messages:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    scope = AsyncRequestFactory()._base_scope(path=path, method="GET", headers=[(b"host", b"testserver")])
    serving = asyncio.ensure_future(ASGIHandler()(scope, receive, send))
    await asyncio.to_thread(views.entered.wait, 10)
    gone.set()
    await serving


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("report", [False, True])
def test_client_leaves_an_asynchronous_view(report, gates, settings):
    """
    A view that is cancelled because its client has gone was aborted.
    """
    settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, "REPORT_ABORTED": report}
    settings.MIDDLEWARE = [settings.MIDDLEWARE[-1]]
    async_to_sync(_leave)("/aslow")

    assert outcomes() == ([False] if report else [])


@pytest.fixture
def points(monkeypatch):
    """
    What recorders of test runs were given, and a semaphore that counts it.
    """
    recorded, told = [], threading.Semaphore(0)

    class Telling(Keeper):
        def keep(self, entry):
            recorded.append(entry)
            told.release()
            return True

    monkeypatch.setattr(UsageRecorder, "keeper_of_all", Telling())
    return lambda: told.acquire(timeout=10) and recorded


@pytest.fixture
def gate_opens_late(gates, monkeypatch):
    """
    The gate of slow views opens when the middleware has seen that the client has gone.
    """
    abandon = Settlement.abandon

    def abandon_and_open(settlement):
        try:
            return abandon(settlement)
        finally:
            views.gate.set()

    monkeypatch.setattr(Settlement, "abandon", abandon_and_open)


@pytest.mark.parametrize(("path", "succeeded"), [("/slow", True), ("/slow-file", True), ("/slow-stream", False)])
def test_client_leaves_a_synchronous_view(path, succeeded, points, gate_opens_late, settings):
    """
    A view that goes on in its thread after its client has gone settles when it ends; a stream has nobody to go to.
    """
    settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, "REPORT_ABORTED": True}
    settings.MIDDLEWARE = [settings.MIDDLEWARE[-1]]
    async_to_sync(_leave)(path)

    assert [point.succeeded for point in points()] == [succeeded]


# Trouble


def test_unusable_settings_stop_the_start(settings):
    """
    Settings that cannot work are an error when the project starts, not at a request.
    """
    settings.REMOTION_LICENSING = {"TIMEOUT": "soon"}

    with pytest.raises(ConfigurationError, match="timeout"):
        UsageMiddleware(lambda request: HttpResponse())


@KINDS
def test_trouble_of_ours_is_logged(kind, monkeypatch, caplog):
    """
    Whatever goes wrong while a point is recorded, the response is as the view made it.
    """

    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr("remotion_licensing_integrations.django.exchange.OriginHeaders.from_environ", fail)

    assert request(kind, "post", "/sync/200").content == b"video"
    assert [record.action for record in caplog.records if hasattr(record, "action")] == ["record_crashed"]


@KINDS
def test_without_a_licence_key(kind, settings, caplog):
    """
    Without a licence key nothing is recorded, which is said once.
    """
    settings.REMOTION_LICENSING = {}
    request(kind, "post", "/sync/200")
    request(kind, "post", "/sync/200")

    assert outcomes() == []
    assert [record.action for record in caplog.records if hasattr(record, "action")] == ["no_license_key"]

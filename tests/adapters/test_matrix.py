"""
One contract for all adapters, each behind the servers that run it: what counts, its outcome, its host, its commit.
"""

from __future__ import annotations

import http.client
import itertools
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import cache
from pathlib import Path

import pytest

from remotion_licensing_integrations import UsagePoint
from remotion_licensing_integrations.outbox import SQLiteOutbox, State
from remotion_licensing_integrations.testing import Sandbox
from tests._environment import clean_environment
from tests._systems import needs_signals, skip_without_posix
from tests.processes.servers import DEADLINE, ServerProcess, eventually

APPS = Path(__file__).parent / "apps"
#: What the how-to for a new adapter begins with.
TEMPLATES = Path(__file__).parents[2] / "docs" / "contributing" / "templates"
GUNICORN = ("gunicorn", "--bind=127.0.0.1:{}", "--workers=1", "--graceful-timeout=5")
#: The command lines of servers; `{}` is the port.
SERVERS: dict[str, Sequence[str]] = {
    "gunicorn sync": (*GUNICORN, "--worker-class=sync"),
    "gunicorn gthread": (*GUNICORN, "--worker-class=gthread", "--threads=4"),
    "gunicorn gevent": (*GUNICORN, "--worker-class=gevent"),
    "waitress": ("waitress", "--listen=127.0.0.1:{}"),
    "uvicorn": ("uvicorn", "--port={}", "--log-level=warning"),
    "aiohttp": ("aiohttp.web", "--hostname=127.0.0.1", "--port={}"),
}
WSGI = [("wsgi", "wsgi_app:app"), ("flask", "flask_app:app"), ("django", "django_app:wsgi")]
ASGI = [
    *(("asgi", "asgi_app:app"), ("starlette", "starlette_app:app"), ("fastapi", "fastapi_app:app")),
    *(("django", "django_app:asgi"), ("litestar", "litestar_app:app"), ("quart", "quart_app:app")),
]
ROWS = [
    *((app, server) for app in WSGI for server in SERVERS if server.startswith(("gunicorn", "waitress"))),
    *((app, "uvicorn") for app in ASGI),
    (("aiohttp", "aiohttp_app:make_app"), "aiohttp"),
]
Row = tuple[tuple[str, str], str]


def name(row: Row) -> str:
    (app, _), server = row
    return f"{app} on {server}"


origins = map("https://page-{}.app".format, itertools.count())


class App(ServerProcess):
    """
    One app behind one server, over an outbox of its own.
    """

    def __init__(self, place: str, server: str, folder: Path, base_url: str) -> None:
        self.outbox = SQLiteOutbox(folder / "usage.sqlite3")
        environment = clean_environment(
            PYTHONPATH=os.pathsep.join(map(str, [APPS, TEMPLATES])),
            REMOTION_LICENSE_KEY="rm_pub_matrix",
            REMOTION_LICENSING_BASE_URL=base_url,
            REMOTION_LICENSING_OUTBOX=f"sqlite:///{folder / 'usage.sqlite3'}",
            REMOTION_LICENSING_REPORT_ABORTED="true",
        )
        super().__init__(lambda port: (*(word.format(port) for word in SERVERS[server]), place), environment, folder)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, "the server ended instead of starting"
        with suppress(OSError):
            return self.send_request("POST", "/plain")[0] == 200
        return False

    def send_request(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """
        Return status and body as soon as the last byte is here; status 0 when the server closes without an answer.
        """
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as connection:
            connection.request(method, path, headers=headers or {})
            try:
                response = connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError):
                return 0, b""
            try:
                return response.status, response.read()
            except http.client.IncompleteRead as error:
                return response.status, error.partial

    def points(self, host: str) -> list[UsagePoint]:
        """
        Return the points of *host* in the outbox, oldest first.
        """
        return [stored.point for stored in reversed(self.outbox.list(host=host))]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def start(tmp_path_factory, sandbox) -> Iterator[Callable[[Row], App]]:
    """
    Starts a server when it is first asked for, because tests come in any order.
    """
    skip_without_posix("the server of this test")
    with ExitStack() as stack:

        @cache
        def start(row: Row) -> App:
            (_, place), server = row
            app = stack.enter_context(App(place, server, tmp_path_factory.mktemp("app"), sandbox.url))
            stack.callback(app.outbox.close)
            return app

        yield start


@pytest.fixture(params=ROWS, ids=name)
def app(request, start) -> App:
    return start(request.param)


@pytest.fixture
def origin() -> str:
    return next(origins)


@pytest.mark.parametrize(
    ("what", "outcomes"),
    [
        *(("200", [True]), ("204", [True]), ("301", [True])),
        *(("400", [False]), ("404", [False]), ("422", [False]), ("503", [False])),
        ("304", []),
        *(("crash", [False]), ("stream", [True]), ("broken", [False]), ("long", [True]), ("file", [True])),
        *(("accepted", []), ("deferred", [None]), ("skipped", []), ("failed", [False])),
    ],
)
def test_outcome(app, origin, what, outcomes):
    """
    When the client has the last byte, the outbox has the point, with the outcome that the response had.
    """
    app.send_request("POST", f"/convert/{what}", {"Origin": origin})

    assert [point.succeeded for point in app.points(origin)] == outcomes


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/nowhere"), ("PUT", "/convert/200"), ("OPTIONS", "/convert/200"), ("POST", "/plain")]
)
def test_not_entered(app, origin, method, path):
    """
    A request that never comes to a decorated endpoint is no conversion.
    """
    app.send_request(method, path, {"Origin": origin})

    assert app.points(origin) == []


def test_client_that_leaves(app, origin):
    """
    A response whose client leaves is aborted.
    """
    with socket.create_connection(("127.0.0.1", app.port), timeout=DEADLINE) as connection:
        connection.sendall(
            f"POST /convert/endless HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert connection.recv(100)

    assert [point.succeeded for point in eventually(lambda: app.points(origin))] == [False]


def test_one_key_is_one_point(app, origin):
    """
    Repeats of one render count once.
    """
    for _ in range(2):
        app.send_request("POST", "/convert/keyed", {"Origin": origin})

    assert [point.idempotency_key for point in app.points(origin)] == ["render-1"]


@pytest.mark.parametrize("headers", [{"X-Forwarded-Host": "evil.app"}, {"Origin": "null"}, {"Origin": "evil"}, {}])
def test_no_host(app, headers):
    """
    Where no page says its origin, the point has no host.
    """
    before = app.outbox.list()
    app.send_request("POST", "/convert/200", headers)
    known = {stored.point.idempotency_key for stored in before}

    assert [each.point.host for each in app.outbox.list() if each.point.idempotency_key not in known] == [None]


def test_point_is_registered(app, origin, sandbox):
    """
    The process that serves delivers what it has recorded, once.
    """
    app.send_request("POST", "/convert/200", {"Origin": origin})
    [point] = app.points(origin)
    eventually(lambda: app.outbox.get(point.idempotency_key).state is State.REGISTERED)

    assert sandbox.idempotency_keys().count(point.idempotency_key) == 1


@needs_signals
@pytest.mark.parametrize("row", [row for row in ROWS if row[0][0] in {"flask", "starlette"}], ids=name)
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_end(row, end, origin, tmp_path):
    """
    Of requests that were answered before the server was told to end, or killed, none is lost.
    """
    (_, place), server = row

    def answered(_: int) -> bool:
        return app.send_request("POST", "/convert/200", {"Origin": origin})[0] == 200

    with App(place, server, tmp_path, "http://127.0.0.1:9") as app, ThreadPoolExecutor(4) as clients:
        count = sum(clients.map(answered, range(40)))
        getattr(app, end)()
    points = app.points(origin)
    app.outbox.close()

    assert len(points) == count == 40

"""
`manage.py remotion_licensing deliver`, more than one at a time.
"""

from __future__ import annotations

import json
import signal
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from remotion_licensing_integrations import UsagePoint
from remotion_licensing_integrations.pointlog import LOG_MARK
from tests._servers import SUCCESS
from tests.django.processes.servers import environment, manage
from tests.processes.servers import DEADLINE, eventually

POINTS = 400

pytestmark = pytest.mark.parametrize("database", ["sqlite_file", "postgresql_database"], indirect=True)


@pytest.fixture
def settings(database, sandbox):
    """
    The environment of commands over the database.
    """
    return environment(
        database,
        REMOTION_LICENSING_BASE_URL=sandbox.url,
        REMOTION_LICENSING_DELIVERY="external",
        REMOTION_LICENSING_TIMEOUT="2",
        REMOTION_LICENSING_LEASE="6",
        REMOTION_LICENSING_SHUTDOWN_TIMEOUT="20",
    )


@pytest.fixture
def keys(settings, tmp_path):
    """
    Keys of many points that are due, put there by the command that reads them from a log.
    """
    points = [UsagePoint(event="cloud-render", host="https://myapp.com", succeeded=True) for _ in range(POINTS)]
    log = tmp_path / "app.log"
    log.write_text("".join(f"CRITICAL {LOG_MARK} {json.dumps(point.to_json())}\n" for point in points))
    run("import", str(log), environment=settings)
    return sorted(point.idempotency_key for point in points)


def run(*words, environment):
    """
    Run a command of ours to its end, and return what it printed.
    """
    with manage("remotion_licensing", *words, environment=environment) as process:
        output, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, output
        return output


@pytest.fixture
def deliver(settings):
    """
    Start deliverers; they are killed at the end.
    """
    started = []

    def deliver():
        started.append(manage("remotion_licensing", "deliver", environment=settings))
        return started[-1]

    yield deliver
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [2, 8])
def test_deliverers_send_each_point_once(number, deliver, keys, sandbox):
    """
    Two or eight at the same time, on one table.
    """
    for _ in range(number):
        deliver()

    eventually(lambda: len(sandbox.points()) == POINTS)

    assert sorted(sandbox.idempotency_keys()) == keys


class Watch:
    """
    What an API sees that takes its time, and refuses each twentieth point once.

    Attributes:
        under_way: Keys that wait for their answer.
        met: Keys that came while they were under way already.
        registered: Keys of the points that it has taken, with repeats.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.under_way, self.met, self.registered, self._refused = set(), [], [], set()

    def answer(self, key):
        """
        Return whether the point is taken.
        """
        with self.lock:
            self.met += {key} & self.under_way
            self.under_way.add(key)
        time.sleep(0.02)
        with self.lock:
            self.under_way.discard(key)
            if zlib.crc32(key.encode()) % 20 == 0 and key not in self._refused:
                self._refused.add(key)
                return False
            self.registered.append(key)
            return True


@pytest.fixture
def watch(settings):
    """
    What such an API sees, to which the deliverers send.
    """
    watch = Watch()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            point = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = (200, SUCCESS) if watch.answer(point["idempotencyKey"]) else (500, b"{}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings["REMOTION_LICENSING_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
        yield watch
        server.shutdown()


def test_no_point_is_under_way_twice(deliver, keys, watch):
    """
    Eight deliverers never send one point at the same time, also not those that are sent again.
    """
    for _ in range(8):
        deliver()

    eventually(lambda: len(watch.registered) >= POINTS)

    assert sorted(watch.registered) == keys
    assert watch.met == []


def test_a_deliverer_goes_on_where_another_was_killed(deliver, keys, sandbox):
    """
    What the killed one had claimed is due again after its lease, and counts once.
    """
    first = deliver()
    eventually(lambda: sandbox.requests)
    first.kill()

    deliver()

    eventually(lambda: sorted(point.idempotency_key for point in sandbox.points()) == keys)


def test_a_deliverer_notes_every_answer_before_it_ends(deliver, keys, sandbox, settings):
    """
    After SIGTERM the table says of each point that was sent that it is registered.
    """
    process = deliver()
    eventually(lambda: sandbox.requests)

    process.send_signal(signal.SIGTERM)

    output, _ = process.communicate(timeout=DEADLINE)
    status = json.loads(run("status", "--json", environment=settings))
    assert (process.returncode, status["registered"]) == (0, len(sandbox.points())), output


def test_delivery_ends_when_nothing_is_due(keys, sandbox, settings):
    """
    With `--once`, for a cron job.
    """
    output = run("deliver", "--once", environment=settings)

    assert (output, sorted(sandbox.idempotency_keys())) == (f"{POINTS} usage points registered.\n", keys)

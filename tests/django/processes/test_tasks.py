"""
Delivery by a worker of Django's tasks, in a process of its own beside the web server.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import django
import pytest

from tests.django.processes.servers import Server, environment, manage
from tests.processes.servers import DEADLINE

if django.VERSION < (6, 0):
    pytest.skip("Django has tasks from version 6.0 on", allow_module_level=True)
pytest.importorskip("django_tasks_db", reason="its queue needs Python 3.12")

CONVERSIONS = 20

#: A process that is killed when it has committed the point of its argument, before it enqueues the task.
KILLED = """
import os, signal, sys, django
django.setup()
from remotion_licensing_integrations import UsagePoint
from remotion_licensing_integrations.django import enqueuer, recorder
enqueuer.Enqueuer.wake = lambda self: os.kill(os.getpid(), signal.SIGKILL)
point = UsagePoint(event="cloud-render", host="https://myapp.com", succeeded=True, idempotency_key=sys.argv[1])
recorder.get_recorder().record(point, wait=15)
"""


@pytest.fixture
def changes(database, sandbox):
    """
    What the environment of each process has, over a database with the tables of the queue.
    """
    changes = {
        "COMMIT_WAIT": "15",
        "TEST_SENDER": "django.tasks",
        "REMOTION_LICENSING_BASE_URL": sandbox.url,
        "REMOTION_LICENSING_DELIVERY": "external",
    }
    with manage("migrate", environment=environment(database, **changes)) as process:
        output, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, output
    return changes


@pytest.fixture
def start_worker(database, changes):
    """
    Start a worker of the queue; it is killed at the end.
    """
    started = []

    def start_worker():
        words = ("db_worker", "--interval=0.1", "--no-startup-delay")
        started.append(manage(*words, environment=environment(database, **changes)))

    yield start_worker
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def server(name, database, changes, tmp_path):
    with Server(name, database, place=tmp_path, **changes) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "path", "database"),
    [
        ("gunicorn-sync-4", "/convert", "sqlite_file"),
        ("gunicorn-gthread-4-preload", "/convert", "postgresql_database"),
        ("uvicorn-4", "/aconvert", "postgresql_database"),
    ],
    indirect=["database"],
)
def test_tasks_register_each_conversion_once(path, server, sandbox, start_worker):
    """
    What four web processes record before and after the worker's start is registered by it, each point once.
    """
    keys = [server.call(path)["idempotency_key"] for _ in range(CONVERSIONS)]
    start_worker()
    keys += [server.call(path)["idempotency_key"] for _ in range(CONVERSIONS)]
    sandbox.wait_for(points=2 * CONVERSIONS, timeout=DEADLINE)

    assert sorted(sandbox.idempotency_keys()) == sorted(keys)


@pytest.mark.parametrize(("name", "database"), [("gunicorn-sync-4", "postgresql_database")], indirect=["database"])
def test_point_that_failed_is_sent_by_another_task(server, sandbox, start_worker):
    """
    A point that the API did not take is sent again by a task that comes when it is due.
    """
    sandbox.set_failure("500", first=2)
    start_worker()
    key = server.call("/convert")["idempotency_key"]
    sandbox.wait_for(points=1, timeout=DEADLINE)

    assert sandbox.idempotency_keys() == [key] * 3


@pytest.mark.parametrize(
    ("name", "database"),
    [("gunicorn-gthread-4-preload", "sqlite_file"), ("uvicorn-4", "postgresql_database")],
    indirect=["database"],
)
def test_point_without_a_task(name, database, sandbox, tmp_path, *, changes, start_worker):
    """
    A point whose process was killed between commit and queue is registered: a process that starts finds it, or one that
    runs, though nobody converts anything again.
    """

    def leave(key):
        changed = environment(database, **changes)
        done = subprocess.run([sys.executable, "-c", KILLED, key], env=changed, check=False, timeout=DEADLINE)
        assert done.returncode == -signal.SIGKILL

    start_worker()
    leave("before the start")
    with Server(name, database, place=tmp_path, **changes, LOOK_EVERY="0.5"):
        sandbox.wait_for(points=1, timeout=DEADLINE)
        leave("while it runs")
        sandbox.wait_for(points=2, timeout=DEADLINE)

    assert sandbox.idempotency_keys() == ["before the start", "while it runs"]

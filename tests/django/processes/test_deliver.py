"""
`manage.py remotion_licensing deliver`, more than one at a time.

Each test has SQLite, where a claim locks the file, and PostgreSQL, where it skips locked rows.
"""

from __future__ import annotations

import json
import signal

import pytest

from remotion_licensing_integrations import UsagePoint
from remotion_licensing_integrations.points.logline import LOG_MARK
from tests._watch import watching
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


@pytest.fixture
def watch(settings):
    """
    What an API sees to which the deliverers send.
    """
    with watching() as watch:
        settings["REMOTION_LICENSING_BASE_URL"] = watch.url
        yield watch


def test_no_point_is_under_way_twice(deliver, keys, watch):
    """
    Four deliverers send each point once, and never one at the same time, also not those that are sent again.
    """
    for _ in range(4):
        deliver()

    eventually(lambda: len(watch.registered) >= POINTS)

    assert sorted(watch.registered) == keys
    assert watch.met == []


def test_a_deliverer_goes_on_where_another_was_killed(deliver, keys, sandbox, settings):
    """
    What the killed one had claimed is due again after its lease, and counts once.
    """
    settings |= {"REMOTION_LICENSING_TIMEOUT": "0.5", "REMOTION_LICENSING_LEASE": "1.5"}
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

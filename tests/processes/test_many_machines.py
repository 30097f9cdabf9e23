"""
Several apps and deliverers, as on several machines, over one database server that fails with them.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from remotion_licensing_integrations.outbox import State, open_outbox
from tests._environment import clean_environment
from tests._server_outbox import to_url
from tests._watch import watching
from tests.processes.servers import KEY, Server, eventually

pytest_plugins = ["tests._postgresql"]

POINTS = 1_200
APPS = 3
DELIVERERS = 3
CLIENTS = 8
BETWEEN_KILLS = POINTS // 6  # points
RESTARTS = (POINTS // 3, 2 * POINTS // 3)  # points after which the database server crashes and comes again

#: Past 0.25 s a response does not wait for its commit, on purpose; these wait for a database that is started again.
PATIENT = {"COMMIT_WAIT": "60"}


@pytest.fixture
def environment(postgresql_server):
    """
    Settings of all processes: one outbox, and leases that end soon where a deliverer is killed.
    """
    return {
        "REMOTION_LICENSE_KEY": KEY,
        "REMOTION_LICENSING_OUTBOX": to_url(postgresql_server.entry),
        "REMOTION_LICENSING_DELIVERY": "external",
        "REMOTION_LICENSING_TIMEOUT": "2",
        "REMOTION_LICENSING_LEASE": "6",
    }


class Deliverers:
    """
    Commands that deliver; a killed one is replaced at once, as a process manager does.
    """

    def __init__(self, number, environment):
        self._environment = clean_environment(**environment)
        self._running = [self._start() for _ in range(number)]

    def _start(self):
        command = [sys.executable, "-m", "remotion_licensing_integrations", "deliver"]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill_one(self):
        """
        Kill one at random.
        """
        killed = random.randrange(len(self._running))
        self._running[killed].kill()
        self._running[killed].wait()
        self._running[killed] = self._start()

    def stop(self):
        """
        End all of them.
        """
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            process.wait(30)


def disturb(watch, deliverers, server):
    """
    Kill deliverers and crash the database server until everything is registered.
    """
    restarts = list(RESTARTS)
    for enough in range(BETWEEN_KILLS, POINTS, BETWEEN_KILLS):
        eventually(lambda enough=enough: len(watch.registered) >= enough, within=120)
        deliverers.kill_one()
        if restarts and enough >= restarts[0]:
            restarts.pop(0)
            server.stop()
            server.start()
    assert restarts == []


def test_no_point_is_lost_or_sent_by_two(environment, postgresql_server, tmp_path):
    """
    Three apps, three deliverers that are killed in turn, two crashes of the database: each point is registered once.
    """
    keys = set()
    lock = threading.Lock()

    def convert(app):
        key = app.convert()["idempotency_key"]
        with lock:
            keys.add(key)

    with watching(latency=0.005) as watch, ExitStack() as stack:
        environment["REMOTION_LICENSING_BASE_URL"] = watch.url
        apps = [
            stack.enter_context(
                Server("uvicorn", base_url=watch.url, outbox=tmp_path / f"{number}", environment=environment | PATIENT)
            )
            for number in range(APPS)
        ]
        deliverers = Deliverers(DELIVERERS, environment)
        stack.callback(deliverers.stop)
        clients = stack.enter_context(ThreadPoolExecutor(CLIENTS + 1))
        trouble = clients.submit(disturb, watch, deliverers, postgresql_server)
        for done in clients.map(convert, (apps[number % APPS] for number in range(POINTS))):
            assert done is None
        trouble.result()
        eventually(lambda: keys <= set(watch.registered), within=120)

        outbox = open_outbox(environment["REMOTION_LICENSING_OUTBOX"])
        eventually(lambda: outbox.counts().registered == POINTS, within=60)
        stored = {each.point.idempotency_key for each in outbox.list(State.REGISTERED, limit=2 * POINTS)}
        outbox.close()

    assert len(keys) == POINTS
    assert set(watch.registered) == stored == keys
    assert watch.met == []

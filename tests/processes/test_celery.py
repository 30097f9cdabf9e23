"""
Jobs of a real queue: workers are killed while they run, and each job is one point in the end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import celery
import pytest
import redis

from remotion_licensing_integrations import UsagePoint
from remotion_licensing_integrations.outbox import SQLiteOutbox, State
from remotion_licensing_integrations.points.token import encode_token
from remotion_licensing_integrations.testing import Sandbox
from tests._environment import clean_environment
from tests.processes.servers import HERE, KEY, eventually

pytest_plugins = ["tests._redis"]

JOBS = 200


@pytest.fixture
def connection(redis_socket) -> Iterator[redis.Redis]:
    """
    A connection to the empty broker.
    """
    with redis.Redis(unix_socket_path=str(redis_socket)) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def broker(redis_socket, connection) -> str:
    """
    The URL of the empty broker.
    """
    return f"redis+socket://{redis_socket}"


@contextmanager
def running_worker(broker: str, api: str, place: Path):
    """
    Run a worker with four processes, whose id it is; kill them all at the end.
    """
    environment = clean_environment() | {
        "BROKER": broker,
        "REMOTION_LICENSE_KEY": KEY,
        "REMOTION_LICENSING_BASE_URL": api,
        "REMOTION_LICENSING_OUTBOX": f"sqlite:///{place / 'outbox.sqlite3'}",
        # What a killed worker was about to register is due again after its lease.
        "REMOTION_LICENSING_TIMEOUT": "0.5",
        "REMOTION_LICENSING_LEASE": "1.5",
    }
    command = [sys.executable, "-m", "celery", "--app=celery_app", "worker", "--concurrency=4", "--loglevel=WARNING"]
    with (place / "worker.log").open("ab") as log:
        worker = subprocess.Popen(
            command, cwd=HERE, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield worker.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def children(parent: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def tokens(connection: redis.Redis) -> set[str]:
    """
    Return the tokens of the jobs that the broker has, taken ones too.
    """
    messages = [*map(json.loads, connection.lrange("celery", 0, -1))]
    messages += [json.loads(taken)[0] for taken in connection.hvals("unacked")]
    return {json.loads(b64decode(message["body"]))[1]["usage_token"] for message in messages}


def test_each_job_is_one_point(broker, connection, tmp_path) -> None:
    """
    Two hundred jobs with late acknowledgement, one worker killed as a whole and some processes of the next: two hundred
    points.
    """
    points = [UsagePoint(event="cloud-render", host="https://myapp.com", succeeded=None) for _ in range(JOBS)]
    outbox = SQLiteOutbox(tmp_path / "outbox.sqlite3")
    outbox.add(points)
    outbox.close()
    with celery.Celery(broker=broker, set_as_current=False) as app, Sandbox() as sandbox:
        jobs = {encode_token(point): point for point in points}
        for token in jobs:
            app.send_task("render", kwargs={"usage_token": token})
        with running_worker(broker, sandbox.url, tmp_path):
            eventually(lambda: len(sandbox.points()) >= JOBS // 4)
        # Celery's broker takes a job from Redis, and then notes that it has it. Killed in between, it has lost the job.
        deferred = {stored.point.idempotency_key for stored in outbox.list(State.DEFERRED, limit=JOBS)}
        for token in jobs.keys() - tokens(connection):
            if jobs[token].idempotency_key in deferred:
                app.send_task("render", kwargs={"usage_token": token})
        # What a killed worker had, the broker gives to another one after an hour, so it was taken long ago.
        for left in connection.zrange("unacked_index", 0, -1):
            connection.zadd("unacked_index", {left: 0})
        with running_worker(broker, sandbox.url, tmp_path) as worker:
            for enough in (JOBS // 3, JOBS // 2, JOBS * 2 // 3):
                eventually(lambda enough=enough: len(sandbox.points()) >= enough)
                os.kill(random.choice(children(worker)), signal.SIGKILL)
            eventually(lambda: len(sandbox.points()) >= JOBS)
            eventually(lambda: outbox.counts().registered == JOBS)
        registered = sandbox.points()

    assert sorted(point.idempotency_key for point in registered) == sorted(point.idempotency_key for point in points)
    assert {point.succeeded for point in registered} == {True}
    assert outbox.list(State.DEFERRED) == []

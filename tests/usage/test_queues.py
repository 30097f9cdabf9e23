"""
Jobs under the queues that people use: what runs again is one point, and a try that is not the last is no failure.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import celery
import dramatiq
import pytest
import redis
import rq
from celery.exceptions import Ignore, Reject
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, CurrentMessage, Retries, Shutdown, TimeLimitExceeded
from dramatiq.threading import raise_thread_exception

from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder, conversion_job, set_default_recorder
from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.points.token import encode_token
from remotion_licensing_integrations.usage import queues
from tests._asgi import ORIGIN, QUIET
from tests._outboxes import PATIENCE
from tests.processes.servers import eventually

pytest_plugins = ["tests._redis"]

TOKEN = encode_token(UsagePoint(event="web-render", host=ORIGIN, succeeded=None, idempotency_key="render-1"))

#: How many tries of a job fail, of three that its queue allows, and what comes of it.
TRIES = pytest.mark.parametrize(("failures", "outcome"), [(0, True), (2, True), (9, False)])

#: What the jobs below shall do: so many more tries fail.
plan = {"failures": 0, "runs": 0}


@pytest.fixture(autouse=True)
def _recorder() -> Iterator[None]:
    plan.update(failures=0, runs=0)
    recorder = UsageRecorder(Settings(**QUIET), outbox=MemoryOutbox())
    set_default_recorder(recorder)
    yield
    recorder.stop()


class BrokenVideoError(Exception):
    """
    What a try that fails raises.
    """


@conversion_job("cloud-render")
def render() -> str:
    """
    A job that fails as often as planned.
    """
    plan["runs"] += 1
    plan["failures"] -= 1
    if plan["failures"] >= 0:
        raise BrokenVideoError
    return "done"


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.action for record in caplog.records if hasattr(record, "action")]


def seen(remotion_usage: Any) -> list[tuple[str, bool | None]]:
    return [(point.idempotency_key, point.succeeded) for point in remotion_usage.points]


@pytest.fixture
def app() -> celery.Celery:
    """
    A Celery app that runs tasks at once, with everything that a worker does but the broker.
    """
    return celery.Celery("tests", set_as_current=False, task_always_eager=True, broker="memory://")


@TRIES
def test_celery_retries_by_itself(app, failures, outcome, remotion_usage) -> None:
    """
    With `autoretry_for` only the last try counts.
    """
    task = app.task(autoretry_for=(BrokenVideoError,), max_retries=2, default_retry_delay=0)(render)
    plan["failures"] = failures
    task.delay(usage_token=TOKEN)

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", outcome)], min(failures, 2) + 1)


@TRIES
def test_celery_task_retries(app, failures, outcome, remotion_usage) -> None:
    """
    A task that calls `retry()` has not failed before its tries are used up.
    """

    @app.task(bind=True, max_retries=2, default_retry_delay=0)
    @conversion_job("cloud-render")
    def render_or_retry(self) -> None:
        plan["failures"] -= 1
        if plan["failures"] >= 0:
            raise self.retry(exc=BrokenVideoError())

    plan["failures"] = failures
    render_or_retry.delay(usage_token=TOKEN)

    assert seen(remotion_usage) == [("render-1", outcome)]


def test_celery_retry_is_no_abort(app, remotion_usage) -> None:
    """
    A task that calls `retry()` has not been broken off, for `report_aborted`.
    """
    set_default_recorder(UsageRecorder(Settings(**QUIET, report_aborted=True), outbox=MemoryOutbox()))

    @app.task(bind=True, default_retry_delay=0)
    @conversion_job("cloud-render")
    def render_or_retry(self) -> None:
        if self.request.retries == 0:
            raise self.retry()

    render_or_retry.delay(usage_token=TOKEN)

    assert seen(remotion_usage) == [("render-1", True)]


@pytest.mark.parametrize("error", [Ignore, Reject])
def test_celery_ignores(app, error, remotion_usage) -> None:
    """
    A task that is ignored or rejected has no outcome.
    """

    @app.task
    @conversion_job("cloud-render")
    def refuse() -> None:
        raise error

    refuse.delay(usage_token=TOKEN)

    assert seen(remotion_usage) == []


def test_celery_fails_at_once(app, remotion_usage) -> None:
    """
    An error that a task does not retry is a failure.
    """
    plan["failures"] = 1
    app.task(autoretry_for=(OSError,))(render).delay(usage_token=TOKEN)

    assert seen(remotion_usage) == [("render-1", False)]


def test_celery_retries_as_often_as_by_default(app, remotion_usage) -> None:
    """
    An unset limit among the keywords of `retry()` is the task's own, after which it has failed.
    """
    plan["failures"] = 9
    task = app.task(autoretry_for=(BrokenVideoError,), retry_kwargs={"max_retries": None, "countdown": 0})(render)
    task.delay(usage_token=TOKEN)

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", False)], task.max_retries + 1)


def test_celery_excludes_errors(app, remotion_usage) -> None:
    """
    An error that is excluded from the retries is a failure.
    """
    plan["failures"] = 1
    app.task(autoretry_for=(Exception,), dont_autoretry_for=(BrokenVideoError,))(render).delay(usage_token=TOKEN)

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", False)], 1)


def test_celery_task_without_a_token(app, remotion_usage) -> None:
    """
    Without a token the task's id names the point, so that a redelivered task counts once.
    """
    task = app.task(render)
    for _ in range(2):
        task.apply(task_id="4711")

    assert seen(remotion_usage) == [("celery-4711", True)]


def test_celery_task_that_calls_a_job_twice(app, remotion_usage) -> None:
    """
    Jobs that are helpers of a task count each by itself.
    """

    @app.task
    def album() -> None:
        render()
        render()

    album.apply(task_id="4711")

    assert ([succeeded for _, succeeded in seen(remotion_usage)], "celery-4711" in dict(seen(remotion_usage))) == (
        [True, True],
        False,
    )


def test_celery_task_called_as_a_function(app, remotion_usage) -> None:
    """
    A task called directly is a plain function, whose failure is final.
    """
    plan["failures"] = 1
    with pytest.raises(BrokenVideoError):
        app.task(autoretry_for=(BrokenVideoError,), max_retries=2)(render)(usage_token=TOKEN)

    assert seen(remotion_usage) == [("render-1", False)]


def nothing() -> None:
    """
    A task without a point.
    """


def test_celery_attribute_that_is_gone(app, monkeypatch, remotion_usage, caplog) -> None:
    """
    Under a Celery that does not say which task runs, success counts, failure stays open, and the log says so once.
    """
    app.task(nothing).apply()  # whatever of Celery imports the name has done so then
    monkeypatch.delattr("celery._state.get_current_task")
    monkeypatch.setattr(queues, "_unreadable", set())
    task = app.task(render)
    plan["failures"] = 1
    for _ in range(2):
        task.apply(kwargs={"usage_token": TOKEN})

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", True)], 2)
    assert actions(caplog) == ["queue_unreadable"]


def test_celery_checks_arguments(app) -> None:
    """
    Celery accepts the keywords of a job, and still refuses others.
    """
    task = app.task(render)
    task.delay(usage_token=TOKEN, usage_host=ORIGIN, usage_key="render-2")

    with pytest.raises(TypeError):
        task.delay(quality=1)


@pytest.fixture
def work(redis_socket, monkeypatch) -> Iterator[Any]:
    """
    Enqueue a job of RQ and have a worker run it, in this process, until nothing is left.
    """
    with redis.Redis(unix_socket_path=str(redis_socket)) as connection:
        connection.flushall()
        queue = rq.Queue(connection=connection)
        worker = rq.SimpleWorker([queue], connection=connection)
        # Signals are the main thread's, and the tests' runner has them.
        monkeypatch.setattr(worker, "_install_signal_handlers", lambda: None)

        def work(function: Any, **options: Any) -> None:
            queue.enqueue(function, **options)
            worker.work(burst=True, logging_level="CRITICAL")

        yield work


@TRIES
def test_rq_retries(work, failures, outcome, remotion_usage) -> None:
    """
    Of a job with retries only the last try counts.
    """
    plan["failures"] = failures
    work(render, usage_token=TOKEN, retry=rq.Retry(max=2))

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", outcome)], min(failures, 2) + 1)


@conversion_job("cloud-render")
def ask_to_run_again() -> Any:
    """
    A job that returns a retry, the first time.
    """
    plan["runs"] += 1
    return rq.Retry(max=1) if plan["runs"] == 1 else "done"


def test_rq_job_that_returns_a_retry(work, remotion_usage) -> None:
    """
    A job that asks to run again has not succeeded yet.
    """
    work(ask_to_run_again, usage_token=TOKEN)

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", True)], 2)


@conversion_job("cloud-render")
def ask_for_ever() -> Any:
    """
    A job that returns a retry each time.
    """
    plan["runs"] += 1
    return rq.Retry(max=1)


def test_rq_job_whose_retries_are_used_up(work, remotion_usage) -> None:
    """
    A job that asks to run again, and may not, has failed.
    """
    work(ask_for_ever, usage_token=TOKEN)

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", False)], 2)


def test_rq_job_without_a_token(work, remotion_usage) -> None:
    """
    Without a token the job's id and time name the point, in all of its tries.
    """
    plan["failures"] = 1
    work(render, job_id="4711", retry=rq.Retry(max=1))

    [(key, succeeded)] = seen(remotion_usage)
    assert (key.startswith("rq-4711-"), succeeded, plan["runs"]) == (True, True, 2)


def test_rq_job_id_that_is_used_again(work, remotion_usage) -> None:
    """
    A later job with the id of an earlier one is another point.
    """
    for _ in range(2):
        work(render, job_id="nightly")

    assert [succeeded for _, succeeded in seen(remotion_usage)] == [True, True]


def test_rq_job_that_is_repeated(work, remotion_usage) -> None:
    """
    A job that RQ repeats, though nothing has failed, is a point each time.
    """
    work(render, repeat=rq.Repeat(times=2))

    assert ([succeeded for _, succeeded in seen(remotion_usage)], plan["runs"]) == ([True, True, True], 3)


def test_rq_attribute_that_is_gone(work, monkeypatch, remotion_usage, caplog) -> None:
    """
    Under an RQ that does not say which job runs, jobs run and count all the same.
    """
    monkeypatch.setattr(queues, "_unreadable", set())
    monkeypatch.delattr("rq.job.get_current_job")
    work(render, usage_token=TOKEN)
    work(render)

    assert [succeeded for _, succeeded in seen(remotion_usage)] == [True, True]
    assert actions(caplog) == ["queue_unreadable"]


class QuickPenalty(rq.timeouts.UnixSignalDeathPenalty):
    """
    RQ's time limit, which it has in whole seconds, after a moment.
    """

    def setup_death_penalty(self) -> None:
        """
        Set the alarm.
        """
        signal.signal(signal.SIGALRM, self.handle_death_penalty)
        signal.setitimer(signal.ITIMER_REAL, 0.05)


@conversion_job("cloud-render")
async def wait_for_ever() -> None:
    """
    A coroutine job that does not end by itself.
    """
    plan["runs"] += 1
    await asyncio.get_running_loop().create_future()


@conversion_job("cloud-render")
async def cancel_itself() -> None:
    """
    A coroutine job that is cancelled, but not by its queue.
    """
    plan["runs"] += 1
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize("retries", [0, 1])
def test_rq_time_limit_of_a_coroutine(work, retries, remotion_usage, monkeypatch) -> None:
    """
    A coroutine job that RQ ends at its time limit has failed, after its last try.
    """
    monkeypatch.setattr(rq.SimpleWorker, "death_penalty_class", QuickPenalty)
    work(wait_for_ever, usage_token=TOKEN, retry=rq.Retry(max=retries) if retries else None)

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", False)], retries + 1)


def test_rq_coroutine_that_is_cancelled(work, remotion_usage) -> None:
    """
    A coroutine job that something else cancels has no outcome.
    """
    work(cancel_itself, usage_token=TOKEN)

    assert (seen(remotion_usage), plan["runs"]) == ([], 1)


@pytest.fixture
def broker() -> Iterator[Any]:
    """
    Dramatiq's broker for tests, with a real worker; without `CurrentMessage` unless it is added.
    """
    broker = StubBroker()
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
    worker.start()
    yield broker
    worker.stop()
    broker.close()


def send(broker: Any, actor: Any, *, fails: bool = False) -> None:
    """
    Have the worker do a message of *actor* to its end.
    """
    actor.send(usage_token=TOKEN)
    broker.join(actor.queue_name, fail_fast=fails)


@TRIES
def test_dramatiq_retries(broker, failures, outcome, remotion_usage) -> None:
    """
    With `CurrentMessage` only the last try counts.
    """
    broker.add_middleware(CurrentMessage())
    plan["failures"] = failures
    send(broker, dramatiq.actor(render, broker=broker, max_retries=2, min_backoff=1, max_backoff=1))

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", outcome)], min(failures, 2) + 1)


@conversion_job("cloud-render")
async def render_async() -> str:
    """
    Same as `render`, as a coroutine.
    """
    return render.__wrapped__()


@pytest.fixture
def async_broker() -> Iterator[Any]:
    """
    Same as `broker`, for coroutines too, whose thread starts with the worker's.
    """
    broker = StubBroker()
    broker.add_middleware(AsyncIO())
    broker.add_middleware(CurrentMessage())
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
    worker.start()
    yield broker
    worker.stop()
    broker.close()


@TRIES
def test_dramatiq_retries_coroutines(async_broker, failures, outcome, remotion_usage) -> None:
    """
    A coroutine, which runs in another thread than the worker's, is one point named by its message, too.
    """
    plan["failures"] = failures
    actor = dramatiq.actor(render_async, broker=async_broker, max_retries=2, min_backoff=1, max_backoff=1)
    message = actor.send()
    async_broker.join(actor.queue_name, fail_fast=False)

    assert (seen(remotion_usage), plan["runs"]) == (
        [(f"dramatiq-{message.message_id}", outcome)],
        min(failures, 2) + 1,
    )


def interrupt_worker(error: type[BaseException]) -> None:
    """
    Raise *error* in the thread of dramatiq's worker, as its middleware does, when it waits for a coroutine.
    """
    [thread] = [thread for thread in threading.enumerate() if isinstance(thread, dramatiq.worker.WorkerThread)]

    def waits() -> bool:
        frames = traceback.walk_stack(sys._current_frames()[thread.ident])
        return Future.result.__code__ in {frame.f_code for frame, _ in frames}

    eventually(waits)
    raise_thread_exception(thread.ident, error)


@pytest.mark.parametrize(
    ("options", "error", "runs", "outcomes"),
    [
        ({"max_retries": 0}, TimeLimitExceeded, 1, [False]),
        ({"max_retries": 1, "min_backoff": 1, "max_backoff": 1}, TimeLimitExceeded, 2, [False]),
        ({"max_retries": 1, "throws": TimeLimitExceeded}, TimeLimitExceeded, 1, [False]),
        ({"max_retries": 0}, Shutdown, 1, []),
    ],
    ids=["last try", "retry", "no retry", "shutdown"],
)
def test_dramatiq_time_limit_of_a_coroutine(async_broker, remotion_usage, *, options, error, runs, outcomes) -> None:
    """
    A coroutine job that dramatiq ends at its time limit has failed, after its last try; one that it stops has not.
    """
    begun = threading.Semaphore(0)

    @conversion_job("cloud-render")
    async def wait() -> None:
        plan["runs"] += 1
        begun.release()
        await asyncio.get_running_loop().create_future()

    actor = dramatiq.actor(wait, broker=async_broker, **options)
    actor.send(usage_token=TOKEN)
    for _ in range(runs):
        assert begun.acquire(timeout=PATIENCE)
        interrupt_worker(error)
    async_broker.join(actor.queue_name, fail_fast=False)

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", outcome) for outcome in outcomes], runs)


@pytest.mark.parametrize(
    ("options", "runs"),
    [({"throws": BrokenVideoError}, 1), ({"retry_when": lambda retries, error: retries < 1, "min_backoff": 1}, 2)],
)
def test_dramatiq_does_not_retry(broker, options, runs, remotion_usage) -> None:
    """
    A failure that the actor does not retry is one, however that is said.
    """
    broker.add_middleware(CurrentMessage())
    plan["failures"] = 9
    send(broker, dramatiq.actor(render, broker=broker, **options))

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", False)], runs)


def test_dramatiq_without_retries(broker, remotion_usage) -> None:
    """
    Without that middleware the first failure is the last.
    """
    broker.add_middleware(CurrentMessage())
    broker.middleware[:] = [each for each in broker.middleware if not isinstance(each, Retries)]
    plan["failures"] = 1
    send(broker, dramatiq.actor(render, broker=broker))

    assert seen(remotion_usage) == [("render-1", False)]


def test_dramatiq_job_that_its_worker_stops(broker, remotion_usage) -> None:
    """
    A job that is interrupted by its worker's end runs again, so it is not reported as aborted.
    """
    set_default_recorder(UsageRecorder(Settings(**QUIET, report_aborted=True), outbox=MemoryOutbox()))
    broker.add_middleware(CurrentMessage())

    @conversion_job("cloud-render")
    def stop_once() -> None:
        plan["runs"] += 1
        if plan["runs"] == 1:
            raise Shutdown

    send(broker, dramatiq.actor(stop_once, broker=broker, min_backoff=1))

    assert (seen(remotion_usage), plan["runs"]) == ([("render-1", True)], 2)


@pytest.mark.parametrize(("failures", "points"), [(0, [("render-1", True)]), (9, [])])
def test_dramatiq_without_current_message(broker, failures, points, remotion_usage) -> None:
    """
    Without `CurrentMessage` nobody can tell the last try: success counts, failure stays open.
    """
    plan["failures"] = failures
    send(broker, dramatiq.actor(render, broker=broker, max_retries=1, min_backoff=1, max_backoff=1))

    assert seen(remotion_usage) == points


def test_dramatiq_message_without_a_token(broker, remotion_usage) -> None:
    """
    Without a token the message's id names the point.
    """
    broker.add_middleware(CurrentMessage())
    message = dramatiq.actor(render, broker=broker).send()
    broker.join(message.queue_name)

    assert seen(remotion_usage) == [(f"dramatiq-{message.message_id}", True)]


def test_dramatiq_helper_of_a_job(broker, remotion_usage) -> None:
    """
    A counted function that a message's actor calls is no job: its point has a key of its own.
    """
    broker.add_middleware(CurrentMessage())
    helper = conversion_job("web-render")(lambda: None)

    def call_helper() -> None:
        helper()

    message = dramatiq.actor(call_helper, broker=broker).send()
    broker.join(message.queue_name)

    [(key, succeeded)] = seen(remotion_usage)
    assert (key.startswith("dramatiq-"), succeeded) == (False, True)


def test_dramatiq_attribute_that_is_gone(broker, monkeypatch, remotion_usage, caplog) -> None:
    """
    Under a dramatiq that does not say which message is worked on, a job runs all the same.
    """
    monkeypatch.setattr(queues, "_unreadable", set())
    monkeypatch.delattr(CurrentMessage, "get_current_message")
    broker.add_middleware(CurrentMessage())
    send(broker, dramatiq.actor(render, broker=broker))

    assert seen(remotion_usage) == [("render-1", True)]
    assert actions(caplog) == ["queue_unreadable"]

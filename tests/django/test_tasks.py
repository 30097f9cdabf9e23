"""
Delivery by tasks of Django, from the setting to the licensing API.
"""

from __future__ import annotations

import subprocess
import sys
import threading

import django
import pytest
from django.core.checks import run_checks
from django.test import override_settings
from django.utils import timezone

from remotion_licensing_integrations.django import conf, enqueuer
from remotion_licensing_integrations.django import recorder as recorder_module
from remotion_licensing_integrations.django.conf import read_settings
from remotion_licensing_integrations.django.recorder import get_recorder
from remotion_licensing_integrations.errors import ConfigurationError, OutboxError
from remotion_licensing_integrations.testing import Sandbox
from tests._django import SETTINGS
from tests.outbox._values import point

BACKEND = f"{__name__}.Queue"
PATIENCE = 10  # seconds that a test waits for what must happen
HAS_TASKS = django.VERSION >= (6, 0)
NEEDS_TASKS = pytest.mark.skipif(not HAS_TASKS, reason="Django has tasks from version 6.0 on")
COMMITTED = pytest.mark.django_db(transaction=True)

if HAS_TASKS:
    from django.tasks.backends.dummy import DummyBackend

    class Queue(DummyBackend):
        """
        A queue that takes tasks when its gate is open, unless it is down.

        Attributes:
            entered: Released when a task comes.
            taken: When the tasks that were taken may run, and a semaphore that counts them.
        """

        gate, down = threading.Event(), False
        entered, told, taken = threading.Semaphore(0), threading.Semaphore(0), []

        def enqueue(self, task, args, kwargs):
            """
            Take a task.
            """
            self.entered.release()
            assert self.gate.wait(PATIENCE)
            if self.down:
                msg = "no broker"
                raise OSError(msg)
            self.taken.append(task.run_after)
            self.told.release()
            return super().enqueue(task, args, kwargs)


def given(settings, **values):
    kept = {key: value for key, value in settings.REMOTION_LICENSING.items() if key != "DELIVERY"}
    settings.REMOTION_LICENSING = {**kept, **values}


def errors():
    """
    Return the errors of our checks.
    """
    return [message for message in run_checks(tags=["remotion_licensing"], databases=()) if message.id.endswith("E001")]


@pytest.fixture
def queue(settings, monkeypatch):
    """
    An open queue with nothing in it, which the settings have as the default backend.
    """
    monkeypatch.setattr(Queue, "entered", threading.Semaphore(0))
    monkeypatch.setattr(Queue, "told", threading.Semaphore(0))
    monkeypatch.setattr(Queue, "taken", [])
    Queue.gate.set()
    settings.TASKS = {"default": {"BACKEND": BACKEND}}
    given(settings, SENDER="django.tasks")
    yield Queue
    Queue.gate.set()


@pytest.fixture
def production(queue, monkeypatch):
    """
    The recorder of production: one of a test run starts no thread and delivers nothing.
    """
    monkeypatch.setattr(recorder_module, "is_test_run", lambda: False)
    monkeypatch.setattr("remotion_licensing_integrations.recording.recorder.COMMIT_WAIT", PATIENCE)
    return get_recorder()


@pytest.fixture
def sandbox(settings):
    with Sandbox() as sandbox:
        given(settings, BASE_URL=sandbox.url)
        yield sandbox


# Settings


@NEEDS_TASKS
@pytest.mark.parametrize("values", [{}, {"DELIVERY": "external"}, {"DELIVERY": None}])
def test_tasks_deliver_in_place_of_threads(queue, settings, values):
    """
    With `SENDER` the web processes leave delivery to others, whether the settings say so or not.
    """
    given(settings, **values)

    assert read_settings().delivery == "external"
    assert errors() == []


@NEEDS_TASKS
@pytest.mark.parametrize("place", ["dict", "environment"])
def test_other_delivery_beside_it(queue, settings, monkeypatch, place):
    """
    E001: another `DELIVERY` beside `SENDER`, in the dict or in the environment.
    """
    if place == "dict":
        given(settings, DELIVERY="worker")
    else:
        monkeypatch.setenv("REMOTION_LICENSING_DELIVERY", "worker")
    [error] = errors()

    assert "leave DELIVERY out, it cannot be 'worker'" in error.msg


def test_unknown_sender(settings):
    """
    E001: a `SENDER` that is none.
    """
    given(settings, SENDER="celery")
    [error] = errors()

    assert error.msg == "REMOTION_LICENSING: SENDER: expected 'django.tasks' or None, got 'celery'"


def test_django_without_tasks(settings, monkeypatch):
    """
    E001: a Django that has no tasks; the error says which it is.
    """
    monkeypatch.setattr(conf, "VERSION", (5, 2, 19, "final", 0))
    monkeypatch.setattr(conf, "get_version", lambda: "5.2.19")
    given(settings, SENDER="django.tasks")
    [error] = errors()

    assert error.msg.endswith("SENDER: 'django.tasks' needs Django 6.0 or newer, this is Django 5.2.19")


@NEEDS_TASKS
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"BACKEND": BACKEND, "QUEUES": ["videos"]}, "Queue 'default' is not valid"),
        ({"BACKEND": "tests.nowhere.Queue"}, "Could not find backend"),
    ],
)
def test_tasks_that_do_not_take_ours(queue, settings, options, reason):
    """
    E001, and an error at the start of the project: the default backend of `TASKS` does not take the task.
    """
    settings.TASKS = {"default": options}
    [error] = errors()

    assert reason in error.msg
    with pytest.raises(ConfigurationError, match="SENDER: the default backend of TASKS"):
        get_recorder()


def test_no_task_without_the_setting():
    """
    In a project without `SENDER` the module, which other task queues import, defines no task.
    """
    code = (
        "import django; django.setup(); from remotion_licensing_integrations.django import tasks; "
        "print(hasattr(tasks, 'deliver'))"
    )
    command = [sys.executable, "-c", f"import os; os.environ['DJANGO_SETTINGS_MODULE'] = '{SETTINGS}'; {code}"]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=conf.__file__.partition("remotion")[0]
    )

    assert done.stdout == "False\n"


# The web processes


@NEEDS_TASKS
@COMMITTED
def test_commit_enqueues_a_task(production, queue):
    """
    A commit of points enqueues the task that delivers, to be run at once.
    """
    assert production.record(point())
    assert queue.told.acquire(timeout=PATIENCE)
    assert queue.taken == [None]


@NEEDS_TASKS
@COMMITTED
def test_slow_queue_delays_no_request(production, queue):
    """
    Points are committed while the queue takes its time with a task, and have one task together then.
    """
    queue.gate.clear()
    production.record(point("first"))
    assert queue.entered.acquire(timeout=PATIENCE)
    committed = [production.record(point(str(number))) for number in range(5)]
    queue.gate.set()

    assert all(committed)
    assert queue.told.acquire(timeout=PATIENCE)
    assert queue.told.acquire(timeout=PATIENCE)
    assert queue.taken == [None, None]


@NEEDS_TASKS
@COMMITTED
def test_queue_that_is_down(production, queue, monkeypatch, caplog):
    """
    While the queue is down points are committed all the same, and the log says so once.
    """
    monkeypatch.setattr(queue, "down", True)
    for number in range(3):
        assert production.record(point(str(number)))
        assert queue.entered.acquire(timeout=PATIENCE)
    monkeypatch.setattr(queue, "down", False)
    production.record(point("after"))

    assert queue.told.acquire(timeout=PATIENCE)
    assert [record.action for record in caplog.records] == ["sender_failed"]
    assert "no broker" in caplog.text
    assert production.counts().stored.pending == 4


@NEEDS_TASKS
@COMMITTED
def test_queue_that_is_up_again(production, queue, monkeypatch):
    """
    A task that could not be enqueued is tried again, though no other point comes.
    """
    monkeypatch.setattr(enqueuer, "RETRY_AFTER", 0.01)
    monkeypatch.setattr(queue, "down", True)
    production.record(point())
    assert queue.entered.acquire(timeout=PATIENCE)
    monkeypatch.setattr(queue, "down", False)

    assert queue.told.acquire(timeout=PATIENCE)


@NEEDS_TASKS
@COMMITTED
def test_no_room_for_a_thread(production, queue, monkeypatch, caplog):
    """
    Where no thread can start, points are committed all the same, and the next commit tries again.
    """
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "remotion-usage-tasks":
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(thread)

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        assert production.record(point("one"))
    assert production.record(point("two"))

    assert queue.told.acquire(timeout=PATIENCE)
    assert [record.action for record in caplog.records] == ["sender_failed"]


@NEEDS_TASKS
@pytest.mark.django_db
def test_test_run_enqueues_nothing(queue, client):
    """
    In a test run of the project's no task is enqueued.
    """
    client.post("/sync/200")

    assert get_recorder().outbox.counts().pending == 1
    assert not queue.entered.acquire(blocking=False)


@NEEDS_TASKS
@COMMITTED
def test_tasks_that_run_at_once(sandbox, settings, queue, monkeypatch):
    """
    With the backend that Django has by default, the thread that enqueues delivers, and no request waits for it.
    """
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    monkeypatch.setattr(recorder_module, "is_test_run", lambda: False)
    sandbox.set_failure(latency_ms=100)
    get_recorder().record(point())

    sandbox.wait_for(points=1, timeout=PATIENCE)


# Points without a task


@NEEDS_TASKS
@COMMITTED
@pytest.mark.parametrize("path", ["/plain", "/nowhere"])
def test_first_request_looks_for_due_points(production, queue, client, path):
    """
    The first request of a process has a task enqueued for a point that another process left, whatever it asks for.
    """
    add("left")
    client.get(path)

    assert queue.told.acquire(timeout=PATIENCE)
    assert production.counts().stored.pending == 1


class Looks:
    """
    An outbox's `next_due` that answers as planned, its last answer for ever.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = threading.Semaphore(0)

    def __call__(self):
        """
        Answer.
        """
        self.asked.release()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def look(monkeypatch):
    """
    Have an enqueuer look again and again, at answers of an outbox.
    """
    monkeypatch.setattr(enqueuer, "LOOK_EVERY", 0.001)
    started = []

    def look(*answers):
        looks = Looks(*answers)
        started.append(enqueuer.Enqueuer(looks))
        started[-1].attend()
        return looks

    yield look
    for each in started:
        each.stop()
        each._thread.join(PATIENCE)


@NEEDS_TASKS
@pytest.mark.parametrize("answers", [(None,), (5.0,), (OutboxError("away"),)])
def test_look_that_finds_nothing_due(queue, look, answers):
    """
    While no point is due, or the outbox is away, no task is enqueued.
    """
    looks = look(*answers)

    assert all(looks.asked.acquire(timeout=PATIENCE) for _ in range(3))
    assert not queue.entered.acquire(blocking=False)


@NEEDS_TASKS
@pytest.mark.parametrize("before", [None, OutboxError("away")])
def test_look_goes_on(queue, look, before):
    """
    A point that is left later has a task enqueued by a later look.
    """
    look(before, 0, None)

    assert queue.told.acquire(timeout=PATIENCE)


@NEEDS_TASKS
def test_second_request_starts_no_second_thread(queue):
    """
    A process has one thread that looks.
    """
    looks = Looks(None)
    attending = enqueuer.Enqueuer(looks)
    attending.attend()
    thread = attending._thread
    attending.attend()
    attending.wake()

    assert (attending._thread, queue.told.acquire(timeout=PATIENCE)) == (thread, True)
    attending.stop()
    thread.join(PATIENCE)


@pytest.mark.parametrize(("found", "seconds"), [(0, 60), (1, 120), (5, 1920), (6, 3600), (10_000, 3600)])
def test_looks_that_find_due_points_become_rare(found, seconds):
    """
    While no worker runs tasks, looks do not fill the queue.
    """
    assert 0.8 * seconds <= enqueuer.look_after(found) <= 1.2 * seconds


@NEEDS_TASKS
@COMMITTED
def test_process_without_a_licence_key_looks_for_nothing(production, client, settings):
    """
    A project that records nothing leaves the points of others alone.
    """
    add("left")
    given(settings, LICENSE_KEY=None)
    client.get("/plain")

    assert get_recorder._enqueuer is None


# The task


@pytest.fixture
def deliver(sandbox, production, monkeypatch):
    """
    Run the task as a worker does, and return how many points it has registered.
    """
    from remotion_licensing_integrations.django import tasks  # noqa: PLC0415 - needs the setting

    monkeypatch.setattr(tasks, "_again_at", 0.0)
    recorder_module.get_recorder.forget()
    return tasks.deliver.call


def add(*keys):
    """
    Put points into the outbox past the recorder, so that no commit of this process enqueues a task.
    """
    get_recorder().outbox.add([point(key, host="https://myapp.com") for key in keys])


def waits(queue):
    """
    Return the seconds after which each of the enqueued tasks may run.
    """
    return [(run_after - timezone.now()).total_seconds() for run_after in queue.taken]


@NEEDS_TASKS
@COMMITTED
def test_task_delivers(deliver, sandbox, queue):
    """
    The task registers what is due, and needs no other task then.
    """
    add("one", "two")

    assert deliver() == 2
    assert sorted(sandbox.idempotency_keys()) == ["one", "two"]
    assert queue.taken == []


@NEEDS_TASKS
@COMMITTED
@pytest.mark.parametrize("use_tz", [True, False])
def test_point_that_is_due_later(deliver, sandbox, queue, settings, use_tz):
    """
    A point that failed for now has one more task when it is due again, however many tasks have seen it.
    """
    settings.USE_TZ = use_tz
    sandbox.set_failure("500")
    add("one")
    deliver()
    deliver()
    due = get_recorder().next_due()

    assert len(queue.taken) == 1
    assert max(due, 1) == pytest.approx(waits(queue)[0], abs=1)


@NEEDS_TASKS
@COMMITTED
def test_delivery_on_hold(deliver, sandbox, queue):
    """
    While delivery is paused no task sends anything; the next one comes when the pause is over.
    """
    sandbox.set_failure("429", retry_after=300)
    add("one")
    deliver()
    add("two")
    deliver()

    assert sandbox.requests == 1
    assert waits(queue) == [pytest.approx(300, abs=5)]


@NEEDS_TASKS
@COMMITTED
def test_task_of_bounded_time(deliver, sandbox, queue, monkeypatch):
    """
    A task ends when its time is over, and what is left has another one soon.
    """
    from remotion_licensing_integrations.django import tasks  # noqa: PLC0415 - needs the setting

    monkeypatch.setattr(tasks, "MAX_SECONDS", 0.2)
    sandbox.set_failure(latency_ms=50)
    add(*map(str, range(200)))

    assert 0 < deliver() < 200
    assert waits(queue) == [pytest.approx(1, abs=1)]


@NEEDS_TASKS
@COMMITTED
def test_earlier_task_is_not_enough(deliver, sandbox, queue):
    """
    A task that was put off for longer does not keep an earlier one away.
    """
    sandbox.set_failure("429", retry_after=300)
    add("one")
    deliver()
    recorder_module.get_recorder.forget()  # as if the process had started anew, without the hold
    sandbox.set_failure("500")
    add("two")
    deliver()

    assert len(queue.taken) == 2
    assert waits(queue)[1] < 60 < waits(queue)[0]


@NEEDS_TASKS
@COMMITTED
def test_queue_that_cannot_wait(deliver, sandbox, queue, monkeypatch):
    """
    With a queue that cannot put a task off there is none; the next point's or a cron job delivers.
    """
    monkeypatch.setattr(queue, "supports_defer", False)
    sandbox.set_failure("500")
    add("one")
    deliver()

    assert not queue.entered.acquire(blocking=False)


@NEEDS_TASKS
@COMMITTED
def test_queue_that_is_down_at_the_end(deliver, sandbox, queue, monkeypatch, caplog):
    """
    A task whose successor cannot be enqueued has delivered all the same.
    """
    monkeypatch.setattr(queue, "down", True)
    add("one")
    sandbox.set_failure("500", first=1)
    add("two")

    assert deliver() == 1
    assert "sender_failed" in [record.action for record in caplog.records]


@NEEDS_TASKS
@COMMITTED
def test_task_without_a_licence_key(deliver, queue, settings):
    """
    Without a licence key the task does nothing, and enqueues no other for what it leaves.
    """
    add("one")
    given(settings, LICENSE_KEY=None)

    assert (deliver(), queue.taken) == (0, [])


@NEEDS_TASKS
@pytest.mark.django_db
def test_task_in_a_test_run(queue, sandbox):
    """
    In a test run of the project's the task sends nothing.
    """
    from remotion_licensing_integrations.django import tasks  # noqa: PLC0415 - needs the setting

    add("one")

    assert (tasks.deliver.call(), sandbox.requests) == (0, 0)


@NEEDS_TASKS
def test_changed_settings(queue):
    """
    The dict may change while the project runs, as in tests: without `SENDER` the recorder delivers again.
    """
    with override_settings(REMOTION_LICENSING={"LICENSE_KEY": "rm_pub_test"}):
        assert read_settings().delivery == "worker"

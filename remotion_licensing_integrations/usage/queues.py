"""
Asks job queues about the running job: for a name that all its runs share, and whether it will run again.

Nothing is imported: a queue whose worker runs the job is loaded already. Some of the attributes that are read here are
private; they are tested with Celery 5.7, RQ 3.0 and dramatiq 2.2. Where a later version lacks one, the job runs as
usual and the log says so once: the job has no name, success counts, and failure stays open, because the last attempt
is unknown (tests/usage/test_queues.py::test_…_attribute_that_is_gone).
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from .._support.log import logger

A = TypeVar("A")
R = TypeVar("R")

#: Errors that are not the end of a job. Celery: `Retry`, `Ignore`, `Reject`.
_NO_OUTCOME: Final = {("celery.exceptions", "TaskPredicate")}
#: Time limits, which are failures of the work.
_LIMITS: Final = {("dramatiq.middleware.time_limit", "TimeLimitExceeded"), ("rq.timeouts", "JobTimeoutException")}
#: Errors behind an error that are looked at: a chain that is made by hand may have no end.
_MAX_CONTEXTS: Final = 100


@dataclass(frozen=True, slots=True)
class Run:
    """
    One run of a job.

    Attributes:
        key: Idempotency key that all runs of this job share; `None` when the queue has no name for it.
        retries: Whether the job runs again after this error.
        grants: Whether the job runs again when it returns this request for a retry.
    """

    key: str | None = None
    retries: Callable[[BaseException], bool] = lambda _: False
    grants: Callable[[Any], bool] = lambda _: True


#: Code that no queue runs.
UNKNOWN_RUN: Final = Run()
#: A job whose queue does not say which attempt is the last.
_OPEN_RUN: Final = Run(retries=lambda _: True)

_unreadable: set[str] = set()


def current_run(function: Callable[..., Any]) -> Run:
    """
    Return the run of the job whose own function is *function*; `UNKNOWN_RUN` when no queue runs it.
    """
    function = inspect.unwrap(function)
    for queue, find in (("Celery", _celery), ("RQ", _rq), ("dramatiq", _dramatiq)):
        run = _readable(queue, find, otherwise=_OPEN_RUN)(function)
        if run is not None:
            retries = _readable(queue, run.retries, otherwise=True)
            return Run(run.key, retries, _readable(queue, run.grants, otherwise=True))
    return UNKNOWN_RUN


def _readable(queue: str, read: Callable[[A], R], *, otherwise: Any) -> Callable[[A], R]:
    def read_or_log(argument: A) -> R:
        try:
            return read(argument)
        except Exception as error:  # noqa: BLE001 - a later version of a queue must not break a job
            if queue not in _unreadable:
                _unreadable.add(queue)
                logger.error(
                    "This version of %s does not tell which job runs; failures of its jobs are not reported: %r",
                    queue,
                    error,
                    extra={"action": "queue_unreadable"},
                )
            return cast("R", otherwise)

    return read_or_log


def is_put_off(error: BaseException) -> bool:
    """
    Whether *error* says that the job runs again, elsewhere, or not at all.
    """
    return not _names(error).isdisjoint(_NO_OUTCOME)


def is_interruption(error: BaseException) -> bool:
    """
    Whether *error* comes from outside the job and is not its failure.
    """
    return not isinstance(error, Exception) and not _is_limit(error)


def find_limit(error: BaseException) -> BaseException:
    """
    Return the time limit that has cancelled a coroutine job with *error*; otherwise *error* itself.

    Fault: a queue raises its limit in the thread that waits for the coroutine, and the coroutine sees a cancellation as
    if it were to run again (tests/usage/test_queues.py::test_…_time_limit_of_a_coroutine).
    """
    if isinstance(error, asyncio.CancelledError):
        limits = [cause for cause in _contexts(error) if _is_limit(cause)]
        interrupts = _interrupts()
        if all(map(_is_limit, interrupts)):
            limits += interrupts
        return limits[0] if limits else error
    return error


def _is_limit(error: BaseException) -> bool:
    return not _names(error).isdisjoint(_LIMITS)


def _contexts(error: BaseException) -> list[BaseException]:
    # RQ: the limit ends the loop, and `asyncio.run` cancels the job while it handles that.
    contexts: list[BaseException] = []
    context = error.__context__
    while context is not None and len(contexts) < _MAX_CONTEXTS:
        contexts.append(context)
        context = context.__context__
    return contexts


def _interrupts() -> list[BaseException]:
    # dramatiq: a worker's thread handles the interrupt while it waits for the end of its coroutine. When several such
    # threads do, it is unknown which one waits for this coroutine, so all of them must handle a time limit.
    if type(threading.current_thread()).__module__ != "dramatiq.asyncio":
        return []
    handled: dict[Any, Any] = getattr(sys, "_current_exceptions", dict)()  # other interpreters have none
    workers = [thread.ident for thread in threading.enumerate() if type(thread).__module__ == "dramatiq.worker"]
    # A tuple before Python 3.12; a thread that handles nothing may have an entry, too.
    found: list[Any] = [error[1] if isinstance(error, tuple) else error for error in map(handled.get, workers)]
    return [error for error in found if ("dramatiq.threading", "Interrupt") in _names(error)]


def _names(error: BaseException | None) -> set[tuple[str, str]]:
    return {(cls.__module__, cls.__name__) for cls in type(error).__mro__}


def is_no_result(result: object) -> bool:
    """
    Whether *result* asks the queue to run the job again, as in RQ.
    """
    return (type(result).__module__, type(result).__name__) == ("rq.job", "Retry")


def _celery(function: Callable[..., Any]) -> Run | None:
    celery = sys.modules.get("celery._state")
    task = celery.get_current_task() if celery else None
    if task is None or task.request.called_directly or not _runs(task.run, function):
        return None

    def retries(error: BaseException) -> bool:
        # Decides like `celery.app.autoretry`, which wraps the task's function.
        never = tuple(getattr(task, "dont_autoretry_for", ()))
        wanted = isinstance(error, tuple(getattr(task, "autoretry_for", ()))) and not isinstance(error, never)
        most = getattr(task, "override_max_retries", getattr(task, "retry_kwargs", {}).get("max_retries"))
        most = task.max_retries if most is None else most
        return wanted and (most is None or task.request.retries < most)

    return Run(f"celery-{task.request.id}", retries)


def _rq(function: Callable[..., Any]) -> Run | None:
    rq = sys.modules.get("rq.job")
    job = rq.get_current_job() if rq else None
    if job is None or not _runs(job.func, function):
        return None

    def grants(retry: Any) -> bool:
        # Decides like RQ's worker, which fails the job otherwise.
        done = getattr(job, "number_of_retries", 0)
        return not done or done < retry.max

    # An id may name several jobs, one after the other, and a job may be one of several repeats.
    key = f"rq-{job.id}-{job.created_at.timestamp():.6f}-{getattr(job, 'repeats_left', None) or 0}"
    return Run(key, lambda _: bool(job.should_retry), grants)


def _dramatiq(function: Callable[..., Any]) -> Run | None:
    dramatiq = sys.modules.get("dramatiq")
    brokers = _dramatiq_brokers()
    if dramatiq is None or not brokers:
        return None
    message = dramatiq.middleware.CurrentMessage.get_current_message()
    if message is None:
        return _OPEN_RUN
    actors = [broker.actors.get(message.actor_name) for broker in brokers]
    actor = next((actor for actor in actors if actor is not None and _runs(actor.fn, function)), None)
    if actor is None:
        return None

    retries_class = dramatiq.middleware.Retries
    middleware = next((item for item in actor.broker.middleware if isinstance(item, retries_class)), None)

    def retries(error: BaseException) -> bool:
        # Decides like that middleware, which runs after the actor's function.
        throws = message.options.get("throws") or actor.options.get("throws")
        if middleware is None or (throws and isinstance(error, throws)):
            return False
        done = message.options.get("retries", 0)
        wanted = actor.options.get("retry_when", middleware.retry_when)
        most = message.options.get("max_retries", actor.options.get("max_retries", middleware.max_retries))
        return bool(wanted(done, error)) if wanted is not None else most is None or done < most

    return Run(f"dramatiq-{message.message_id}", retries)


def _dramatiq_brokers() -> set[Any]:
    # A worker's thread has one broker. Coroutines run in a thread that serves all workers of the process.
    current = threading.current_thread()
    threads: list[Any] = threading.enumerate() if type(current).__module__ == "dramatiq.asyncio" else [current]
    return {thread.broker for thread in threads if type(thread).__module__ == "dramatiq.worker"}


def _runs(run: Callable[..., Any], function: Callable[..., Any]) -> bool:
    return inspect.unwrap(getattr(run, "__func__", run)) is function

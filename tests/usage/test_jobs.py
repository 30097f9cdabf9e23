"""
Job functions and blocks of code that count.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from functools import partial
from typing import Any

import celery
import pytest
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from remotion_licensing_integrations import (
    ConfigurationError,
    Settings,
    UsagePoint,
    UsageRecorder,
    conversion,
    conversion_job,
    current_usage,
    default_recorder,
    set_default_recorder,
    usage_point,
)
from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.points.token import decode_token, encode_token
from remotion_licensing_integrations.usage.block import JOB_COMMIT_WAIT
from tests._asgi import ORIGIN, QUIET, exchange
from tests._delivery import OK, Api
from tests._outboxes import PATIENCE, SlowOutbox
from tests._starlette import starlette_app

POINT = UsagePoint(event="web-render", host=ORIGIN, succeeded=None, is_still=True, idempotency_key="render-1")
TOKEN = encode_token(POINT)

#: How a block or a job is run: as synchronous code, or by an event loop.
BOTH = pytest.mark.parametrize("how", ["sync", "async"])

ENDS = pytest.mark.parametrize(
    ("error", "outcomes"),
    [(None, [True]), (ValueError, [False]), (KeyboardInterrupt, []), (asyncio.CancelledError, [])],
)


def make_recorder(**settings: Any) -> UsageRecorder:
    return UsageRecorder(Settings(**{**QUIET, **settings}), outbox=MemoryOutbox())


@pytest.fixture
def recorder() -> Iterator[UsageRecorder]:
    """
    The recorder of code that was given none.
    """
    recorder = make_recorder()
    set_default_recorder(recorder)
    yield recorder
    recorder.stop()


def run_block(how: str, block: Any, work: Callable[[Any], object] = lambda _: None) -> None:
    """
    Run *work* in *block*, and swallow what the work raises.
    """

    async def run() -> None:
        async with block as point:
            work(point)

    with suppress(ValueError, KeyboardInterrupt, asyncio.CancelledError):
        if how == "async":
            asyncio.run(run())
        else:
            with block as point:
                work(point)


def make_job(how: str, work: Callable[..., object], **options: Any) -> Callable[..., Any]:
    """
    Return a counted job that does *work*, to be called as a queue would.
    """

    async def render_async(*args: Any, **keywords: Any) -> Any:
        return work(*args, **keywords)

    def render(*args: Any, **keywords: Any) -> Any:
        return work(*args, **keywords)

    if how == "sync":
        return conversion_job("cloud-render", **options)(render)
    counted = conversion_job("cloud-render", **options)(render_async)
    return lambda *args, **keywords: asyncio.run(counted(*args, **keywords))


def end(error: type[BaseException] | None) -> None:
    if error is not None:
        raise error


@BOTH
@ENDS
def test_block(how, error, outcomes, recorder, remotion_usage) -> None:
    """
    A block succeeds by ending and fails by an error; one that was interrupted has no outcome.
    """
    run_block(how, conversion("cloud-render", host=ORIGIN), lambda _: end(error))

    assert [(point.event, point.host, point.succeeded) for point in remotion_usage.points] == [
        ("cloud-render", ORIGIN, outcome) for outcome in outcomes
    ]


@BOTH
def test_interrupted_block_can_be_reported(how, remotion_usage) -> None:
    """
    With `report_aborted` an interrupted block counts as failed.
    """
    block = conversion("cloud-render", recorder=make_recorder(report_aborted=True))
    run_block(how, block, lambda _: end(KeyboardInterrupt))

    assert [point.succeeded for point in remotion_usage.points] == [False]


@BOTH
def test_block_is_adjusted_as_a_request_is(how, recorder, remotion_usage) -> None:
    """
    Inside a block its usage point can be changed, by its name or as the current one.
    """

    def work(point: Any) -> None:
        point.succeeded = False
        current_usage().is_still = True
        current_usage().idempotency_key = "render-2"

    run_block(how, conversion("cloud-render"), work)

    [point] = remotion_usage.points
    assert (point.succeeded, point.is_still, point.idempotency_key) == (False, True, "render-2")


@BOTH
def test_skipped_block(how, recorder, remotion_usage) -> None:
    """
    A skipped block gives no point.
    """
    run_block(how, conversion("cloud-render"), lambda point: point.skip())

    assert remotion_usage.points == []


@BOTH
def test_deferred_block(how, recorder, remotion_usage) -> None:
    """
    A block can put its outcome off, too.
    """
    tokens: list[str] = []
    run_block(how, conversion("cloud-render"), lambda point: tokens.append(point.defer()))
    recorder.complete(tokens[0], succeeded=True)

    assert ([point.succeeded for point in remotion_usage.points], remotion_usage.deferred) == ([True], [])


def test_block_takes_the_options_of_a_decorator(recorder, remotion_usage) -> None:
    """
    Flags and key can be given where the block begins.
    """
    with conversion("web-render", is_still=True, is_production=False, idempotency_key="render-3"):
        pass

    [point] = remotion_usage.points
    assert (point.event, point.is_still, point.is_production, point.idempotency_key) == (
        "web-render",
        True,
        False,
        "render-3",
    )


@pytest.mark.parametrize("options", [{"host": "not an origin"}, {"idempotency_key": "é"}])
def test_unusable_value_of_a_block(options, recorder, remotion_usage, caplog) -> None:
    """
    A host or key that comes from outside cannot break the block; it is logged and left out.
    """
    with conversion("cloud-render", **options):
        pass

    [point] = remotion_usage.points
    assert (point.host, [record.action for record in caplog.records]) == (None, ["bad_adjustment"])


def test_unknown_event() -> None:
    """
    An event that the licensing API does not know is an error at once, for blocks and jobs.
    """
    with pytest.raises(ConfigurationError, match="event: 'render'"):
        conversion("render")
    with pytest.raises(ConfigurationError, match="event: 'render'"):
        conversion_job("render")


def test_block_runs_once(recorder) -> None:
    """
    A block that was used cannot be used again, as its key would count once.
    """
    block = conversion("cloud-render")
    run_block("sync", block, lambda point: point.skip())

    with pytest.raises(RuntimeError, match="create a new one"):
        block.__enter__()


def test_block_that_is_forked(recorder, remotion_usage) -> None:
    """
    A block that ends in two processes, of which one is a copy of the other, is one point.
    """
    block = conversion("cloud-render")
    block.__enter__()
    fork = copy.copy(block)
    fork._settlement, fork._token = copy.copy(block._settlement), None
    for each in (block, fork):
        each.__exit__(None, None, None)

    assert len(remotion_usage.points) == 1


def test_block_of_a_coroutine_that_is_closed() -> None:
    """
    A coroutine that is given up can be closed while an event loop runs, and its block be reported.
    """
    recorder = make_recorder(report_aborted=True)

    async def wait() -> None:
        async with conversion("cloud-render", recorder=recorder):
            await asyncio.sleep(PATIENCE)

    async def main() -> None:
        waiting = wait()
        waiting.send(None)
        waiting.close()

    asyncio.run(main())
    recorder.stop()

    assert [stored.point.succeeded for stored in recorder.outbox.list()] == [False]


def test_blocks_within_blocks(recorder, remotion_usage) -> None:
    """
    An inner block counts by itself, and the outer one is current again afterwards.
    """
    with conversion("cloud-render") as outer:
        with conversion("web-render"):
            pass
        same = current_usage().idempotency_key == outer.idempotency_key

    assert ([point.event for point in remotion_usage.points], same) == (["web-render", "cloud-render"], True)


def test_blocks_of_interleaved_generators(recorder, remotion_usage) -> None:
    """
    What blocks leave behind that end in another order than they began has no say in later ones.
    """

    def frames(recorder: UsageRecorder) -> Any:
        with conversion("cloud-render", host=ORIGIN, recorder=recorder):
            yield

    first, second = frames(make_recorder()), frames(make_recorder())
    next(first)
    next(second)
    for generator in (first, second):
        next(generator, None)
    with conversion("cloud-render") as later:
        pass

    assert (later.host, current_usage().host, len(remotion_usage.points)) == (None, None, 3)


def test_block_in_a_request(remotion_usage) -> None:
    """
    In a request that does not count itself, a block has the request's host and recorder.
    """

    async def endpoint(_: Any) -> PlainTextResponse:
        async with conversion("cloud-render"):
            return PlainTextResponse("done")

    exchange(starlette_app(Route("/convert", endpoint, methods=["POST"])), headers={"Origin": ORIGIN})

    assert [point.host for point in remotion_usage.points] == [ORIGIN]


def test_label_of_a_block(remotion_usage) -> None:
    """
    A block has its own label, else that of the request around it.
    """

    async def endpoint(_: Any) -> PlainTextResponse:
        current_usage().label = "customer-42"
        with conversion("cloud-render"), suppress(ZeroDivisionError):
            pass
        with conversion("cloud-render", label="customer-43"):
            pass
        return PlainTextResponse("done")

    exchange(starlette_app(Route("/convert", endpoint, methods=["POST"])))

    assert [point.label for point in remotion_usage.points] == ["customer-42", "customer-43"]


def test_label_of_a_job(remotion_usage) -> None:
    """
    A job can name its label, or has that of its token.
    """

    @conversion_job("cloud-render")
    def job(label: str | None = None) -> None:
        if label:
            current_usage().label = label

    token = encode_token(UsagePoint(event="web-render", host=None, succeeded=None, label="customer-42"))
    job(usage_token=token)
    job("customer-43")

    assert [point.label for point in remotion_usage.points] == ["customer-42", "customer-43"]


def test_block_has_the_configured_host(remotion_usage) -> None:
    """
    Outside a request a block has the host of the settings.
    """
    with conversion("cloud-render", recorder=make_recorder(host=ORIGIN)):
        pass

    assert [point.host for point in remotion_usage.points] == [ORIGIN]


@pytest.mark.parametrize("breaks", [False, True])
def test_stream_within_a_block(remotion_usage, *, breaks: bool) -> None:
    """
    A block is counted by its own end, not by that of a counted stream within it.
    """

    @usage_point("web-render")
    def stream() -> Iterator[int]:
        yield 1
        if breaks:
            raise ValueError

    with conversion("cloud-render"), suppress(ValueError):
        list(stream())

    assert [(point.event, point.succeeded) for point in remotion_usage.points] == [("cloud-render", True)]


@BOTH
@ENDS
def test_job(how, error, outcomes, recorder, remotion_usage) -> None:
    """
    A job succeeds by returning and fails by an error; one that was interrupted has no outcome yet.
    """
    job = make_job(how, lambda: end(error))
    with pytest.raises(error) if error else nullcontext():
        job(usage_host=ORIGIN, usage_key="render-4")

    assert [(point.host, point.idempotency_key, point.succeeded) for point in remotion_usage.points] == [
        (ORIGIN, "render-4", outcome) for outcome in outcomes
    ]


@BOTH
def test_job_with_a_token(how, recorder, remotion_usage) -> None:
    """
    A token says all that the job's own decorator leaves open, and the event.
    """
    make_job(how, lambda: None)(usage_token=TOKEN)

    [point] = remotion_usage.points
    assert (point.event, point.host, point.is_still, point.idempotency_key, point.succeeded) == (
        *("web-render", ORIGIN, True, "render-1"),
        True,
    )


@BOTH
def test_job_returns_what_its_function_does(how, recorder) -> None:
    """
    Arguments and result go through as they are.
    """
    job = make_job(how, lambda *args, **keywords: (args, keywords))

    assert job(1, "two", three=3) == ((1, "two"), {"three": 3})


def test_function_gets_the_keywords_that_it_declares(recorder, remotion_usage) -> None:
    """
    A function that wants the token for itself has it, and its point is completed all the same.
    """

    @conversion_job("cloud-render")
    def render(video: int, usage_token: str) -> str:
        return usage_token

    assert render(7, usage_token=TOKEN) == TOKEN
    assert [point.idempotency_key for point in remotion_usage.points] == ["render-1"]


def test_token_is_given_by_its_place(recorder, remotion_usage) -> None:
    """
    A token that the function takes among its arguments is found there, and none among those that have no name.
    """

    @conversion_job("cloud-render")
    def render(video: int, usage_token: str, *more: object, usage_key: str = "") -> str:
        return usage_token

    assert render(7, TOKEN, "more", "and more") == TOKEN
    assert [point.idempotency_key for point in remotion_usage.points] == ["render-1"]


def test_signature_has_the_keywords() -> None:
    """
    A queue that checks a job's arguments finds ours beside the function's own.
    """

    @conversion_job("cloud-render")
    def render(video: int, *, usage_host: str = "", **rest: int) -> None: ...

    assert list(inspect.signature(render).parameters) == ["video", "usage_host", "usage_token", "usage_key", "rest"]


@pytest.mark.parametrize("token", ["garbage", "ru1.", 7, TOKEN[:-1]])
def test_damaged_token(token, recorder, remotion_usage, caplog) -> None:
    """
    A damaged token is logged; the job runs, and counts without it.
    """
    make_job("sync", lambda: None)(usage_token=token)

    assert [(point.event, point.succeeded) for point in remotion_usage.points] == [("cloud-render", True)]
    assert [record.action for record in caplog.records] == ["bad_token"]


def test_token_ends_its_deferral(recorder) -> None:
    """
    In the outbox the deferred point gets its outcome.
    """
    recorder.outbox.add([POINT])
    make_job("sync", lambda: None)(usage_token=TOKEN)
    recorder.stop()

    assert [stored.point.succeeded for stored in recorder.outbox.list()] == [True]


@BOTH
@pytest.mark.parametrize("work", [lambda: current_usage().skip(), lambda: end(ValueError)])
def test_nothing_to_record_ends_the_deferral(how, work, remotion_usage) -> None:
    """
    A job that is skipped, or whose failure is not to be reported, leaves nothing deferred.
    """
    remotion_usage.keep(POINT)
    job = make_job(how, work, recorder=make_recorder(report_failures=False))
    with suppress(ValueError):
        job(usage_token=TOKEN)

    assert (remotion_usage.points, remotion_usage.deferred) == ([], [])


def run_before_the_response(recorder: UsageRecorder, run: Callable[[str], object]) -> None:
    """
    Have a request defer its point, and *run* its job to the end before the response goes out.
    """

    @usage_point("cloud-render")
    def endpoint(_: Any) -> PlainTextResponse:
        run(current_usage().defer())
        return PlainTextResponse("later", 202)

    done = exchange(starlette_app(Route("/convert", endpoint, methods=["POST"]), recorder=recorder))
    assert done.status == 202, done.error


def run_in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def fast_jobs(recorder: UsageRecorder) -> dict[str, Callable[[str], object]]:
    """
    Return jobs that end without an outcome to record, each with a token.
    """
    app = celery.Celery("tests", set_as_current=False, task_always_eager=True, broker="memory://")

    @app.task
    @conversion_job("cloud-render")
    def skip() -> None:
        current_usage().skip()

    @app.task
    @conversion_job("cloud-render")
    def fail() -> None:
        raise ValueError

    return {
        "eager task skips": lambda token: skip.delay(usage_token=token),
        "eager task fails": lambda token: fail.delay(usage_token=token),
        "thread completes": lambda token: run_in_thread(lambda: recorder.complete(token, succeeded=False)),
        "coroutine completes": lambda token: asyncio.run(recorder.acomplete(token, succeeded=False)),
    }


@pytest.mark.parametrize("place", ["outbox", "fixture"])
@pytest.mark.parametrize("job", fast_jobs(make_recorder()))
def test_job_that_ends_before_the_response(job, place, request) -> None:
    """
    A job that is over without an outcome before its request leaves nothing deferred.
    """
    usage = request.getfixturevalue("remotion_usage") if place == "fixture" else None
    recorder = make_recorder(report_failures=False)
    run_before_the_response(recorder, fast_jobs(recorder)[job])
    recorder.stop()

    assert list(usage.deferred if usage else recorder.outbox.list()) == []


@pytest.mark.parametrize("place", ["outbox", "fixture"])
def test_work_that_is_deferred_again(place, request) -> None:
    """
    A fast job that was forgotten keeps no later request with its key out.
    """
    usage = request.getfixturevalue("remotion_usage") if place == "fixture" else None
    recorder = make_recorder(report_failures=False)
    recorder.complete(TOKEN, succeeded=False)
    recorder.record(POINT)
    recorder.record(POINT)
    recorder.stop()

    deferred = usage.deferred if usage else [stored.point for stored in recorder.outbox.list()]
    assert [(point.idempotency_key, point.succeeded) for point in deferred] == [(POINT.idempotency_key, None)]


def test_skipped_job_in_the_loop_of_another_library(recorder) -> None:
    """
    A job that no loop of asyncio runs can end its deferral, too.
    """
    recorder.outbox.add([POINT])

    @conversion_job("cloud-render")
    async def render() -> str:
        current_usage().skip()
        return "video"

    with pytest.raises(StopIteration, match="video"):
        render(usage_token=TOKEN).send(None)

    assert list(recorder.outbox.list()) == []


@BOTH
def test_interrupted_job_stays_deferred(how, recorder, remotion_usage) -> None:
    """
    A job that was interrupted is still to be done.
    """
    remotion_usage.keep(POINT)
    with pytest.raises(KeyboardInterrupt):
        make_job(how, lambda: end(KeyboardInterrupt))(usage_token=TOKEN)

    assert (remotion_usage.points, remotion_usage.deferred) == ([], [POINT])


def test_job_that_is_called_twice(recorder, remotion_usage) -> None:
    """
    A second run with the same token counts nothing.
    """
    job = make_job("sync", lambda: None)
    job(usage_token=TOKEN)
    job(usage_token=TOKEN)

    assert len(remotion_usage.points) == 1


def test_job_is_adjusted_as_a_request_is(recorder, remotion_usage) -> None:
    """
    Inside a job its usage point is the current one.
    """

    def work() -> None:
        current_usage().succeeded = False

    make_job("sync", work)()

    assert [point.succeeded for point in remotion_usage.points] == [False]


def test_endpoint_decorator_inside_a_job(recorder, remotion_usage) -> None:
    """
    A function that counts as an endpoint counts nothing more when a job calls it.
    """
    make_job("sync", usage_point("web-render")(lambda: None))()

    assert [point.event for point in remotion_usage.points] == ["cloud-render"]


@pytest.mark.parametrize("error", [None, ValueError])
def test_stream_inside_a_job(error, recorder, remotion_usage) -> None:
    """
    A job that reads a counted stream in part, or gets along without the rest, succeeds by returning.
    """

    @usage_point("web-render")
    def frames() -> Iterator[int]:
        yield 1
        end(error)
        yield 2

    def work() -> None:
        with suppress(ValueError), closing(frames()) as stream:
            next(stream)
            if error:
                next(stream)

    make_job("sync", work)(usage_token=TOKEN)

    assert [(point.idempotency_key, point.succeeded) for point in remotion_usage.points] == [("render-1", True)]


def test_token_from_a_script(remotion_usage) -> None:
    """
    A token that was made where no request is counted leaves all but the key to the job and its settings.
    """
    recorder = make_recorder(host=ORIGIN, is_production=False)
    token = current_usage().defer()
    make_job("sync", lambda: None, recorder=recorder, is_still=True)(usage_token=token, usage_key="render-2")
    web_render = conversion_job("web-render", recorder=recorder)(lambda: None)
    web_render(usage_token=current_usage().defer())

    assert [(point.event, point.host, point.is_still, point.is_production) for point in remotion_usage.points] == [
        ("cloud-render", ORIGIN, True, False),
        ("web-render", ORIGIN, False, False),
    ]
    assert remotion_usage.points[0].idempotency_key == decode_token(token).idempotency_key


def test_key_of_a_token_stays(recorder, remotion_usage, caplog) -> None:
    """
    A job cannot give a deferred point another key, by which it would stay deferred and count beside.
    """

    def work() -> None:
        current_usage().idempotency_key = "render-2"

    remotion_usage.keep(POINT)
    make_job("sync", work)(usage_token=TOKEN)

    assert ([point.idempotency_key for point in remotion_usage.points], remotion_usage.deferred) == (["render-1"], [])
    assert [record.action for record in caplog.records] == ["bad_adjustment"]


@BOTH
def test_job_that_fails_to_pass_its_work_on(how, recorder, remotion_usage) -> None:
    """
    A job that has deferred its point once more, and fails, leaves it deferred: nobody knows who goes on.
    """

    def work() -> None:
        current_usage().defer()
        raise ValueError

    remotion_usage.keep(POINT)
    with pytest.raises(ValueError):
        make_job(how, work)(usage_token=TOKEN)

    assert (remotion_usage.points, remotion_usage.deferred) == ([], [POINT])


def test_job_has_its_own_options(remotion_usage) -> None:
    """
    Without a token the decorator's host and flags count, but a host of this very job goes first.
    """
    options = {"host": "https://fixed.com", "is_still": True, "is_production": False, "recorder": make_recorder()}
    job = make_job("sync", lambda: None, **options)
    job()
    job(usage_host=ORIGIN)

    assert [(point.host, point.is_still, point.is_production) for point in remotion_usage.points] == [
        ("https://fixed.com", True, False),
        (ORIGIN, True, False),
    ]


@pytest.mark.parametrize("how", ["background", "thread"])
def test_work_after_the_response(how, remotion_usage) -> None:
    """
    A token given to a background task or a plain thread is completed there, with the app's recorder.
    """
    job = make_job("sync", lambda: None)

    @usage_point("cloud-render")
    async def endpoint(_: Any) -> PlainTextResponse:
        work = partial(job, usage_token=current_usage().defer())
        if how == "background":
            return PlainTextResponse("later", 202, background=BackgroundTasks([BackgroundTask(work)]))
        threads.append(threading.Thread(target=work))
        return PlainTextResponse("later", 202)

    threads: list[threading.Thread] = []
    exchange(starlette_app(Route("/convert", endpoint, methods=["POST"])), headers={"Origin": ORIGIN})
    for thread in threads:
        thread.start()
        thread.join()

    assert [(point.host, point.succeeded) for point in remotion_usage.points] == [(ORIGIN, True)]


@pytest.mark.parametrize("thing", [7, type, [lambda: (yield)][0]])
def test_what_cannot_be_a_job(thing) -> None:
    """
    Only a function that ends by returning can be a job.
    """
    with pytest.raises(TypeError, match="is not a plain function or coroutine function"):
        conversion_job("cloud-render")(thing)


def test_forgotten_event() -> None:
    """
    The decorator without an event says what is missing.
    """
    with pytest.raises(TypeError, match="needs an event"):
        conversion_job(lambda: None)


def test_job_waits_longer_than_a_request() -> None:
    """
    A job is not over before its point is committed, also by a slow store.
    """
    outbox = SlowOutbox()
    outbox.gate.clear()
    recorder = UsageRecorder(Settings(**QUIET), outbox=outbox)
    threading.Timer(0.5, outbox.gate.set).start()
    make_job("sync", lambda: None, recorder=recorder)(usage_token=TOKEN)

    assert outbox.keys == ["render-1"]
    recorder.stop()


def test_job_keeps_no_event_loop_waiting() -> None:
    """
    Synchronous code in an event loop waits no longer than a request, as all that the loop does waits with it.
    """
    outbox = SlowOutbox()
    outbox.gate.clear()
    recorder = UsageRecorder(Settings(**QUIET), outbox=outbox)

    async def main() -> None:
        make_job("sync", lambda: None, recorder=recorder)(usage_token=TOKEN)

    began = time.monotonic()
    asyncio.run(main())
    waited = time.monotonic() - began
    outbox.gate.set()
    recorder.stop()

    assert (waited < JOB_COMMIT_WAIT / 2, outbox.keys) == (True, ["render-1"])


@BOTH
def test_inline_delivery(how) -> None:
    """
    Where nobody else delivers, a job does so itself when it has ended.
    """
    api = Api(OK)
    recorder = UsageRecorder(Settings(**{**QUIET, "delivery": "inline"}), transport=api.transport)
    make_job(how, lambda: None, recorder=recorder)(usage_token=TOKEN)
    recorder.stop()

    assert api.keys == ["render-1"]


@pytest.mark.parametrize("what", ["block", "job"])
def test_inline_delivery_blocks_no_event_loop(what) -> None:
    """
    Synchronous code in an event loop delivers while the loop goes on, also when the API hangs.
    """
    gate, answers = threading.Event(), []

    def hang(body: Any) -> Any:
        answers.append(gate.wait(PATIENCE / 2))  # less than the delivery has
        return OK(body)

    recorder = UsageRecorder(Settings(**{**QUIET, "delivery": "inline"}), transport=Api(hang).transport)

    async def main() -> None:
        if what == "job":
            make_job("sync", lambda: None, recorder=recorder)(usage_token=TOKEN)
        else:
            with conversion("cloud-render", recorder=recorder):
                pass
        gate.set()

    asyncio.run(main())
    recorder.stop()

    assert answers == [True]


def test_inline_delivery_in_a_loop_that_is_about_to_close() -> None:
    """
    A block that ends when the loop runs no more threads leaves its point in the outbox.
    """
    api = Api(OK)
    recorder = UsageRecorder(Settings(**{**QUIET, "delivery": "inline"}), transport=api.transport)

    async def main() -> None:
        await asyncio.get_running_loop().shutdown_default_executor()
        with conversion("cloud-render", recorder=recorder):
            pass

    asyncio.run(main())
    pending = recorder.counts().stored.pending
    recorder.stop()

    assert (pending, api.keys) == (1, [])


def test_inline_delivery_in_the_loop_of_another_library() -> None:
    """
    A job that no loop of asyncio runs delivers, too.
    """
    api = Api(OK)
    recorder = UsageRecorder(Settings(**{**QUIET, "delivery": "inline"}), transport=api.transport)

    @conversion_job("cloud-render", recorder=recorder)
    async def render() -> str:
        return "video"

    with pytest.raises(StopIteration, match="video"):
        render(usage_token=TOKEN).send(None)
    recorder.stop()

    assert api.keys == ["render-1"]


def test_inline_delivery_in_a_request() -> None:
    """
    In a request the middleware delivers what a block has recorded, once the response has gone out.
    """
    api = Api(OK)
    recorder = UsageRecorder(Settings(**{**QUIET, "delivery": "inline"}), transport=api.transport)
    before: list[int] = []

    async def endpoint(_: Any) -> PlainTextResponse:
        async with conversion("cloud-render", idempotency_key="render-1"):
            pass
        before.append(len(api.keys))
        return PlainTextResponse("done")

    exchange(starlette_app(Route("/convert", endpoint, methods=["POST"]), recorder=recorder))
    recorder.stop()

    assert (before, api.keys) == ([0], ["render-1"])


def test_unusable_environment(monkeypatch, caplog) -> None:
    """
    A job whose process is badly configured does its work, and the log says what to mend.
    """
    monkeypatch.setenv("REMOTION_LICENSING_LEASE", "long")

    assert make_job("sync", lambda: "done")() == "done"
    assert [record.action for record in caplog.records] == ["bad_settings"]


def test_default_recorder_is_one(monkeypatch) -> None:
    """
    Code without a recorder shares one, made from the environment.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", "rm_pub_env")

    assert default_recorder() is default_recorder()
    assert default_recorder().settings.license_key == "rm_pub_env"


def test_default_recorder_is_the_first_apps() -> None:
    """
    In an app's process it is the one of the first middleware, unless another was named.
    """
    first, second = make_recorder(), make_recorder()
    for recorder in (first, second):
        exchange(starlette_app(recorder=recorder))
    offered = default_recorder()
    set_default_recorder(second)

    assert (offered, default_recorder()) == (first, second)

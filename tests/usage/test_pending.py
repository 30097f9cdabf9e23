"""
The decorator and the usage point of a request, without any framework.
"""

# ruff: noqa: D102, FBT001 - endpoints of tests explain themselves, and pytest passes parameters by name

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from contextlib import contextmanager
from typing import Any

import pytest

from remotion_licensing_integrations import ConfigurationError, Settings, UsageRecorder, current_usage, usage_point
from remotion_licensing_integrations.points.origin import ResolvedHost
from remotion_licensing_integrations.points.token import decode_token
from remotion_licensing_integrations.usage.endpoint import marked_options
from remotion_licensing_integrations.usage.options import UsageOptions
from remotion_licensing_integrations.usage.pending import PendingUsage
from remotion_licensing_integrations.usage.settlement import CURRENT, Settlement
from tests._asgi import QUIET

OPTIONS = UsageOptions("cloud-render")
HOST = "https://myapp.com"


class Request(Settlement):
    def __init__(self, recorder: UsageRecorder, host: str | None, method: str) -> None:
        super().__init__(recorder)
        self.method = method
        self.page = host

    def find_host(self) -> ResolvedHost:
        return ResolvedHost(self.page, "origin")


def pending(*, entered: bool = True, host: str | None = HOST, method: str = "POST", **settings: Any) -> Settlement:
    recorder = UsageRecorder(Settings(**{**QUIET, **settings}))
    settlement = Request(recorder, host, method)
    if entered:
        settlement.enter(OPTIONS)
    return settlement


@contextmanager
def in_request(usage: Settlement | None = None):
    usage = usage or pending(entered=False)
    token = CURRENT.set(usage)
    try:
        yield usage
    finally:
        CURRENT.reset(token)


def collect(value: Any) -> Any:
    """
    Run whatever a decorated callable returned to its end.
    """
    if inspect.isasyncgen(value):

        async def drain() -> list[Any]:
            return [item async for item in value]

        return asyncio.run(drain())
    if inspect.isgenerator(value):
        return list(value)
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def sync(name: str, *, times: int = 1) -> list[str]:
    """
    Repeat a name.
    """
    return [name] * times


async def asynchronous(name: str, *, times: int = 1) -> list[str]:
    """
    Repeat a name.
    """
    return [name] * times


def generator(name: str, *, times: int = 1) -> Any:
    """
    Repeat a name.
    """
    yield from [name] * times


async def async_generator(name: str, *, times: int = 1) -> Any:
    """
    Repeat a name.
    """
    for item in [name] * times:
        yield item


class Instance:
    def __call__(self, name: str, *, times: int = 1) -> list[str]:
        return [name] * times

    def method(self, name: str, *, times: int = 1) -> list[str]:
        return [name] * times


class AsyncInstance:
    async def __call__(self, name: str, *, times: int = 1) -> list[str]:
        return [name] * times


FUNCTIONS = [sync, asynchronous, generator, async_generator]
CALLABLES = [
    *FUNCTIONS,
    *(functools.partial(function) for function in FUNCTIONS),
    Instance(),
    AsyncInstance(),
    Instance().method,
]
KINDS = [inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction]


def name_of(value: Any) -> str:
    return getattr(
        value, "__qualname__", f"{type(value).__name__}-{getattr(getattr(value, 'func', None), '__name__', '')}"
    )


@pytest.mark.parametrize("function", CALLABLES, ids=name_of)
def test_result(function: Any) -> None:
    """
    A decorated callable takes and returns what it did before.
    """
    with in_request():
        assert collect(usage_point("cloud-render")(function)("a", times=2)) == ["a", "a"]


@pytest.mark.parametrize("function", CALLABLES, ids=name_of)
def test_enters(function: Any) -> None:
    """
    Running a decorated callable of any kind enters the request's usage point.
    """
    with in_request() as usage:
        collect(usage_point("web-render")(function)("a"))

    assert usage.entered
    assert usage.event == "web-render"


@pytest.mark.parametrize("function", CALLABLES, ids=name_of)
def test_signature(function: Any) -> None:
    """
    The signature that frameworks read stays the same, postponed annotations resolved.
    """
    decorated = usage_point("cloud-render")(function)

    assert inspect.signature(function, eval_str=True) == inspect.signature(decorated)


@pytest.mark.parametrize("function", CALLABLES[:8], ids=name_of)
@pytest.mark.parametrize("kind", KINDS)
def test_kind(function: Any, kind: Any) -> None:
    """
    A coroutine function stays one, and so do both kinds of generators.
    """
    assert kind(function) == kind(usage_point("cloud-render")(function))


def test_async_instance_kind() -> None:
    """
    An instance with an asynchronous `__call__` becomes a coroutine function.
    """
    assert inspect.iscoroutinefunction(usage_point("cloud-render")(AsyncInstance()))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_metadata(function: Any) -> None:
    """
    Name, module, docstring and annotations stay the same.
    """
    decorated = usage_point("cloud-render")(function)

    for name in functools.WRAPPER_ASSIGNMENTS:
        assert getattr(function, name) == getattr(decorated, name)


@pytest.mark.parametrize(("function", "name"), [(functools.partial(sync), "partial"), (Instance(), "Instance")])
def test_nameless(function: Any, name: str) -> None:
    """
    A callable without a name keeps the one that frameworks make of it, its class's.
    """
    assert name == usage_point("cloud-render")(function).__name__


@pytest.mark.parametrize("function", [generator, async_generator])
def test_generator_enters_late(function: Any) -> None:
    """
    A generator function is entered when its first item is asked for, not when it is called.
    """
    with in_request() as usage:
        iterator = usage_point("cloud-render")(function)("a")
        before = usage.entered
        collect(iterator)

    assert (before, usage.entered) == (False, True)


def test_async_generator_closes_at_once() -> None:
    """
    Closing a decorated asynchronous generator closes the endpoint's own before it returns.
    """
    closed = []

    @usage_point("cloud-render")
    async def endpoint():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async def main() -> None:
        items = endpoint()
        await anext(items)
        await items.aclose()
        assert closed == [True]

    with in_request() as usage:
        asyncio.run(main())

    assert usage.aborted


@pytest.mark.parametrize(
    "target", [Instance, 3, "convert", classmethod(sync)], ids=["class", "int", "str", "classmethod"]
)
def test_not_a_function(target: Any) -> None:
    """
    A class, or what cannot be called, is refused.
    """
    with pytest.raises(TypeError, match="not a function or method"):
        usage_point("cloud-render")(target)


def test_no_event() -> None:
    """
    Without parentheses the decorator says what is missing.
    """
    with pytest.raises(TypeError, match=r'@usage_point\("cloud-render"\)'):
        usage_point(sync)


def test_no_arguments() -> None:
    """
    With empty parentheses the event is missing.
    """
    with pytest.raises(TypeError, match="event"):
        usage_point()


@pytest.mark.parametrize("event", ["render", "", None, 3])
def test_unknown_event(event: Any) -> None:
    """
    An event that the API does not know is refused.
    """
    with pytest.raises(ConfigurationError, match="event"):
        usage_point(event)


def test_bad_host() -> None:
    """
    A host that is no origin is refused.
    """
    with pytest.raises(ConfigurationError, match=r"https://myapp\.com"):
        usage_point("cloud-render", host="myapp.com/")


def test_mark_is_on_the_original() -> None:
    """
    The undecorated function tells that it was decorated, the decorated one does not.
    """

    def endpoint(): ...

    decorated = usage_point("cloud-render")(endpoint)

    assert (marked_options(endpoint), marked_options(decorated)) == (OPTIONS, None)


def test_mark_is_not_copied() -> None:
    """
    A function decorated for a second route gives no decorated function that looks undecorated.
    """

    def endpoint(): ...

    usage_point("cloud-render")(endpoint)

    assert marked_options(usage_point("web-render")(endpoint)) is None


def test_first_entry_wins() -> None:
    """
    A decorated function that calls another decorated one counts as itself.
    """
    inner = usage_point("web-render")(sync)

    @usage_point("cloud-render")
    def outer():
        inner("a")

    with in_request() as usage:
        outer()

    assert usage.event == "cloud-render"


def test_decorated_function_within_an_endpoint() -> None:
    """
    An endpoint that has called another decorated function still outlives a client that leaves, and counts by its end.
    """
    part, left = usage_point("cloud-render")(lambda: None), []

    def convert() -> None:
        part()
        left.append(usage.abandon())
        part()
        left.append(usage.settled)

    with in_request() as usage:
        usage_point("cloud-render")(convert)()

    assert left == [True, False]
    assert usage.recorded


def test_without_middleware(caplog) -> None:
    """
    A decorated endpoint that runs without the middleware logs one error, which says what to add.
    """

    @usage_point("cloud-render")
    def lonely_endpoint(): ...

    lonely_endpoint()
    lonely_endpoint()

    (record,) = caplog.records
    assert (record.levelno, record.action) == (logging.ERROR, "middleware_missing")
    assert "lonely_endpoint" in record.message
    assert "Is UsageMiddleware installed in this app?" in record.message


def test_without_middleware_no_arguments(caplog) -> None:
    """
    That error does not show the arguments of a partial object.
    """
    usage_point("cloud-render")(functools.partial(sync, "hidden"))()

    assert "hidden" not in caplog.text


@pytest.mark.parametrize("function", [generator, async_generator])
def test_generator_without_middleware(function: Any) -> None:
    """
    A decorated generator yields what it did before, also without the middleware.
    """
    assert collect(usage_point("cloud-render")(function)("a")) == ["a"]


def test_awaitable_from_a_plain_function() -> None:
    """
    A plain function that returns an awaitable still does.
    """
    with in_request() as usage:
        assert collect(usage_point("cloud-render")(lambda name: asynchronous(name))("a")) == ["a"]  # noqa: PLW0108 - a plain function is the point

    assert usage.entered


def test_outside_a_request() -> None:
    """
    Outside a request every adjustment is accepted and forgotten.
    """
    usage = current_usage()
    usage.succeeded = False
    usage.is_still = True
    usage.host = HOST
    usage.idempotency_key = "render-1"
    usage.skip()

    assert current_usage().idempotency_key != usage.idempotency_key
    usage = current_usage()
    assert (usage.host, usage.is_still, usage.is_production) == (None, False, None)


def test_defer_outside_a_request() -> None:
    """
    Outside a request a deferral gives a token that can be read.
    """
    assert decode_token(current_usage().defer(), succeeded=True).host is None


def test_defer_twice() -> None:
    """
    A point that is deferred again keeps its token.
    """
    usage = PendingUsage(pending())

    assert usage.defer() == usage.defer()


def test_inside_a_request() -> None:
    """
    Inside a request everybody gets the same usage point.
    """
    with in_request() as usage:
        assert usage.idempotency_key == current_usage().idempotency_key


OUTCOMES = [(200, True), (201, True), (303, True), (307, True), (399, True), (400, False), (404, False), (500, False)]


@pytest.mark.parametrize(("status", "succeeded"), OUTCOMES)
def test_outcome(status: int, succeeded: bool) -> None:
    """
    An entered endpoint's response below 400 is a success.
    """
    point = pending().settle("whole", status)

    assert point is not None
    assert succeeded is point.succeeded


@pytest.mark.parametrize("ending", ["whole", "failed", "aborted"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("OPTIONS", 200), ("GET", 206), ("GET", 304)])
def test_never_counted(ending: Any, method: str, status: int) -> None:
    """
    HEAD, OPTIONS, 206 and 304 give no point, however the response ends.
    """
    assert pending(method=method, report_aborted=True).settle(ending, status) is None


@pytest.mark.parametrize("status", [307, 308, 401, 403, 404, 405, 422, 429])
def test_not_entered(status: int) -> None:
    """
    Where only a rule tells of the endpoint, statuses given in front of endpoints do not count.
    """
    usage = pending(entered=False)
    usage.apply(OPTIONS)

    assert usage.settle("whole", status) is None


def test_no_event_no_point() -> None:
    """
    A request to another endpoint gives no point.
    """
    assert pending(entered=False).settle("whole", 200) is None


ENDINGS = [("whole", 200), ("whole", 500), ("failed", 0), ("aborted", 200)]


@pytest.mark.parametrize("succeeded", [True, False])
@pytest.mark.parametrize(("ending", "status"), ENDINGS)
def test_override(ending: Any, status: int, succeeded: bool) -> None:
    """
    An assigned outcome overrules the response, a failure and an abort.
    """
    usage = pending()
    usage.succeeded = succeeded
    point = usage.settle(ending, status)

    assert point is not None
    assert succeeded is point.succeeded


@pytest.mark.parametrize(("ending", "status"), ENDINGS)
def test_skip(ending: Any, status: int) -> None:
    """
    A skipped request gives no point, however it ends.
    """
    usage = pending(report_aborted=True)
    PendingUsage(usage).skip()

    assert usage.settle(ending, status) is None


def test_report_failures() -> None:
    """
    With `report_failures=False` a failure gives no point.
    """
    assert pending(report_failures=False).settle("whole", 500) is None


def test_report_failures_success() -> None:
    """
    With `report_failures=False` a success still counts.
    """
    assert pending(report_failures=False).settle("whole", 200) is not None


@pytest.mark.parametrize("wanted", [True, False])
def test_report_aborted(wanted: bool) -> None:
    """
    An abort gives a point only with `report_aborted=True`.
    """
    assert wanted is (pending(report_aborted=wanted).settle("aborted", 200) is not None)


def test_aborted_inside() -> None:
    """
    A stream that was cut off counts as aborted although a middleware completed the response.
    """
    usage = pending()
    usage.aborted = True

    assert usage.settle("whole", 200) is None


def test_accepted() -> None:
    """
    202 gives no point.
    """
    assert pending().settle("whole", 202) is None


@pytest.mark.parametrize(("end", "warnings"), [("nothing", 1), ("defer", 0), ("skip", 0)])
def test_accepted_warning(end: str, warnings: int, caplog) -> None:
    """
    202 is warned of unless its point was deferred or skipped.
    """
    usage = pending()
    getattr(PendingUsage(usage), end, lambda: None)()
    usage.settle("whole", 202)

    assert ["accepted_without_defer"] * warnings == [record.action for record in caplog.records]


def test_accepted_override() -> None:
    """
    202 counts when the endpoint has said how it ended.
    """
    usage = pending()
    usage.succeeded = True

    assert usage.settle("whole", 202) is not None


@pytest.mark.parametrize(("name", "value"), [("is_still", 1), ("is_production", "yes"), ("succeeded", "no")])
def test_bad_flag(name: str, value: object, caplog) -> None:
    """
    An adjustment that is no bool is logged and ignored, and the point still counts.
    """
    usage = pending()
    setattr(PendingUsage(usage), name, value)
    point = usage.settle("whole", 200)

    assert point is not None
    assert (point.is_still, point.is_production, point.succeeded) == (False, True, True)
    assert [record.action for record in caplog.records] == ["bad_adjustment"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("host", "myapp.com"), ("host", 3), ("idempotency_key", ""), ("idempotency_key", "é"), ("idempotency_key", None),
     ("label", ""), ("label", "x" * 101), ("label", "a\nb"), ("label", 42)],
)  # fmt: skip
def test_bad_text(name: str, value: object, caplog) -> None:
    """
    An unusable host, key or label is logged and ignored.
    """
    usage = PendingUsage(pending())
    before = getattr(usage, name)
    setattr(usage, name, value)

    assert before == getattr(usage, name)
    assert [record.action for record in caplog.records] == ["bad_adjustment"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("host", None), ("host", "https://other.com"), ("idempotency_key", "render-1"), ("event", "web-render"),
     ("is_still", True), ("is_production", False), ("label", "customer-42"), ("label", None)],
)  # fmt: skip
def test_adjustment(name: str, value: object) -> None:
    """
    What the endpoint assigns is what the point says.
    """
    usage = pending()
    setattr(PendingUsage(usage), name, value)

    assert value == getattr(usage.settle("whole", 200), name)


def test_options() -> None:
    """
    What the decorator was given is what the point says.
    """
    usage = pending(entered=False)
    usage.enter(UsageOptions("web-render", "https://other.com", is_still=True, is_production=False))
    point = usage.settle("whole", 200)

    assert point is not None
    assert (point.event, point.host) == ("web-render", "https://other.com")
    assert (point.is_still, point.is_production) == (True, False)


@pytest.mark.parametrize(("option", "expected"), [(None, False), (True, True)])
def test_is_production_setting(option: bool | None, expected: bool) -> None:
    """
    The setting decides whether a point may be billed, unless the decorator does.
    """
    usage = pending(entered=False, is_production=False)
    usage.enter(UsageOptions("web-render", is_production=option))

    assert expected is usage.settle("whole", 200).is_production


def test_key_is_minted_once() -> None:
    """
    The key an endpoint reads is the one its point has.
    """
    usage = pending()

    assert usage.idempotency_key == usage.settle("whole", 200).idempotency_key

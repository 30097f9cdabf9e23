"""
Usage limits in real Starlette and FastAPI apps, against the sandbox.
"""

# ruff: noqa: D102 - fakes of tests explain themselves

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from remotion_licensing_integrations import (
    ConfigurationError,
    LicensingError,
    OutboxError,
    Settings,
    UsageRecorder,
    current_usage,
    fastapi,
    register_usage_event,
    starlette,
)
from remotion_licensing_integrations.outbox import Expected, MemoryOutbox, State
from remotion_licensing_integrations.testing import Sandbox
from remotion_licensing_integrations.usage import CURRENT, Settlement, UsageLimit, limits, meter

from ._asgi import aexchange
from ._outboxes import SlowOutbox, new_point

KEY = "rm_pub_limits"
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(day=15, hour=12)

    def __call__(self) -> datetime:
        return self.now


class Store(MemoryOutbox):
    """
    Counts how often it is asked how many points were added, and refuses what a test names.
    """

    asked = 0
    refuses = ""

    def expected(self, *arguments: Any, **options: Any) -> Expected:
        if self.refuses == "expected":
            msg = "the disk is full"
            raise OutboxError(msg)
        return super().expected(*arguments, **options)

    def added_after(self, *arguments: Any, **options: Any) -> Mapping[str, int]:
        self.asked += 1
        if self.refuses == "added_after":
            msg = "the disk is full"
            raise OutboxError(msg)
        return super().added_after(*arguments, **options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(sandbox) -> Iterator[UsageRecorder]:
    settings = Settings(license_key=KEY, private_license_key="rm_sec_limits", base_url=sandbox.url, delivery="external")
    recorder = UsageRecorder(settings, outbox=Store())
    yield recorder
    recorder.stop()


def convert() -> Any:
    return JSONResponse({})


class Limited:
    """
    An app with one limited endpoint.
    """

    def __init__(self, app: Any) -> None:
        self.client = TestClient(app, raise_server_exceptions=False)

    def convert(self) -> int:
        return self.client.post("/convert").status_code

    def statuses(self, number: int) -> list[int]:
        return [self.convert() for _ in range(number)]


def starlette_async(recorder: UsageRecorder, work: Any, *limits: Any, **point: Any) -> Limited:
    @starlette.usage_point("cloud-render", **point)
    async def endpoint(_: Any) -> Any:
        return work()

    for options in limits:
        endpoint = starlette.usage_limit(**options)(endpoint)
    routes = [Route("/convert", endpoint, methods=["POST", "GET"])]
    return Limited(Starlette(routes=routes, middleware=[Middleware(starlette.UsageMiddleware, recorder=recorder)]))


def starlette_sync(recorder: UsageRecorder, work: Any, *limits: Any, **point: Any) -> Limited:
    @starlette.usage_point("cloud-render", **point)
    def endpoint(_: Any) -> Any:
        return work()

    for options in limits:
        endpoint = starlette.usage_limit(**options)(endpoint)
    routes = [Route("/convert", endpoint, methods=["POST"])]
    return Limited(Starlette(routes=routes, middleware=[Middleware(starlette.UsageMiddleware, recorder=recorder)]))


def fastapi_app(recorder: UsageRecorder, work: Any, *limits: Any, after: Any = None, **point: Any) -> Limited:
    app = FastAPI()
    app.add_middleware(fastapi.UsageMiddleware, recorder=recorder)
    dependencies = [Depends(fastapi.usage_limit(**options)) for options in limits]

    @app.post("/convert", dependencies=[*dependencies, *([Depends(after)] if after else [])])
    @fastapi.usage_point("cloud-render", **point)
    async def endpoint() -> Any:
        return work()

    return Limited(app)


APPS = pytest.mark.parametrize("make", [starlette_async, starlette_sync, fastapi_app])


def counts(recorder: UsageRecorder) -> dict[str, int]:
    stored = recorder.outbox.counts()
    return {state.value: count for state in State if (count := getattr(stored, state))}


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.action for record in caplog.records if hasattr(record, "action")]


def count_elsewhere(sandbox: Sandbox, number: int, event: str = "cloud-render") -> None:
    for _ in range(number):
        register_usage_event(
            license_key=KEY, event=event, host="https://other.app", succeeded=True, base_url=sandbox.url
        )


@APPS
def test_requests_beyond_the_limit_are_refused(make: Callable[..., Limited], recorder, clock):
    """
    As many requests pass as the limit says; the others get 429, and no point is recorded for them.
    """
    app = make(recorder, convert, {"max_billable": 3, "clock": clock})

    assert app.statuses(5) == [200, 200, 200, 429, 429]
    assert counts(recorder) == {"pending": 3}


@APPS
def test_the_refusal_says_when_to_come_back(make, recorder, clock):
    """
    The answer is a problem document, and names the end of the month in UTC.
    """
    clock.now = NOON
    response = make(recorder, convert, {"max_billable": 0, "clock": clock}).client.post("/convert")

    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == str(4 * 86_400 + 43_200)
    assert response.json()["detail"] == (
        "The limit of 0 conversions per month is reached; it ends at 2026-12-01 00:00 UTC."
    )


def test_a_day_ends_at_midnight(recorder, clock):
    """
    A limit per day starts again with the next day in UTC.
    """
    clock.now = NOON
    response = starlette_async(recorder, convert, {"max_billable": 0, "per": "day", "clock": clock}).client.post(
        "/convert"
    )

    assert response.headers["retry-after"] == "43200"


def test_what_the_api_has_counted_is_used(recorder, clock, sandbox):
    """
    Points of other senders with the same key count, too.
    """
    count_elsewhere(sandbox, 2)
    app = starlette_async(recorder, convert, {"max_billable": 3, "clock": clock, "per": "month"})

    assert app.statuses(2) == [200, 429]


@pytest.mark.parametrize(
    ("event", "status"),
    [("cloud-render", 429), (None, 429), ("web-render", 200), ("webcodec-conversion", 200)],
)
def test_an_event_has_its_own_limit(recorder, clock, sandbox, event, status):
    """
    A limit of one event does not see the others; without an event it sees all.
    """
    count_elsewhere(sandbox, 1)

    assert starlette_async(recorder, convert, {"max_billable": 1, "event": event, "clock": clock}).convert() == status


def test_the_next_month_starts_again(recorder, clock):
    """
    In the next month requests pass again.
    """
    app = starlette_async(recorder, convert, {"max_billable": 2, "clock": clock})
    assert app.statuses(3) == [200, 200, 429]
    recorder.deliver()
    clock.now += timedelta(days=31)

    assert app.convert() == 200


def test_a_registered_point_still_counts(recorder, clock):
    """
    Points that have left the outbox since the API was asked are not forgotten.
    """
    app = starlette_async(recorder, convert, {"max_billable": 2, "clock": clock})
    app.convert()
    recorder.deliver()
    clock.now += timedelta(seconds=5)

    assert app.statuses(2) == [200, 429]


def test_the_figure_is_at_most_a_minute_old(recorder, clock, sandbox):
    """
    What the API counts is seen after a minute at the latest, and the API is not asked earlier than it must.
    """
    app = starlette_async(recorder, convert, {"max_billable": 9, "clock": clock})
    app.convert()
    count_elsewhere(sandbox, 9)
    clock.now += timedelta(seconds=29)
    assert app.convert() == 200
    clock.now += timedelta(seconds=32)

    assert app.convert() == 429


def test_a_busy_app_does_not_wait_for_the_api(recorder, clock, sandbox, monkeypatch):
    """
    A figure that is half a minute old is renewed by a thread, while requests pass by the old one.
    """
    renewed = threading.Event()
    fetch = meter.get_usage
    app = starlette_async(recorder, convert, {"max_billable": 9, "clock": clock})
    app.convert()
    count_elsewhere(sandbox, 9)

    def get_usage(**call: Any) -> Any:
        try:
            return fetch(**call)
        finally:
            renewed.set()

    monkeypatch.setattr(meter, "get_usage", get_usage)
    clock.now += timedelta(seconds=40)
    assert app.convert() == 200
    assert renewed.wait(10)
    [figures] = [meter.find_meter(recorder)]
    with figures._fetching:
        clock.now += timedelta(seconds=2)

    assert app.convert() == 429


def test_a_point_registered_meanwhile_counts_once(recorder, clock, monkeypatch):
    """
    Points that are registered while the API is asked keep no other request out.
    """
    fetch = meter.get_usage

    def get_usage(**call: Any) -> Any:
        recorder.deliver()
        return fetch(**call)

    recorder.record(new_point("first"))
    recorder.record(new_point("second"))
    monkeypatch.setattr(meter, "get_usage", get_usage)
    app = starlette_async(recorder, convert, {"max_billable": 4, "clock": clock})

    assert app.statuses(4) == [200, 200, 429, 429]


def test_a_point_added_and_registered_meanwhile_counts_once(recorder, clock, monkeypatch):
    """
    A point that is recorded and registered while the API is asked keeps no other request out.
    """
    fetch = meter.get_usage

    def get_usage(**call: Any) -> Any:
        recorder.record(new_point("meanwhile"))
        recorder.deliver()
        return fetch(**call)

    monkeypatch.setattr(meter, "get_usage", get_usage)
    app = starlette_async(recorder, convert, {"max_billable": 3, "clock": clock})

    assert app.statuses(3) == [200, 200, 429]


def test_points_that_wait_for_long_are_asked_about_once(recorder, clock, monkeypatch):
    """
    When pending points stay pending, requests beyond the limit are refused without asking the API for each.
    """
    asked: list[Any] = []
    fetch = meter.get_usage

    def get_usage(**call: Any) -> Any:
        asked.append(call)
        return fetch(**call)

    recorder.record(new_point("first"))
    monkeypatch.setattr(meter, "get_usage", get_usage)
    monkeypatch.setattr(limits, "PAUSES", (0.0, 0.0))
    app = starlette_async(recorder, convert, {"max_billable": 1, "clock": clock})

    assert app.statuses(5) == [429] * 5
    assert len(asked) == 4


def test_a_point_registered_between_two_counts_is_not_lost(recorder, clock, monkeypatch):
    """
    A figure that another request has asked for before the outbox was counted does not let a request pass.
    """
    expected = recorder.outbox.expected
    recorder.record(new_point("first"))
    app = starlette_async(recorder, convert, {"max_billable": 1, "clock": clock})

    def expected_later(*arguments: Any, **options: Any) -> Expected:
        if "until" in options and recorder.outbox.counts().pending:
            figures = meter.find_meter(recorder)
            figures.renew(recorder, start_of_month(clock), clock.now, after=figures.asked)
            recorder.deliver()
        return expected(*arguments, **options)

    monkeypatch.setattr(recorder.outbox, "expected", expected_later)

    assert app.convert() == 429


def test_a_renewed_figure_is_of_its_own_period(recorder, clock):
    """
    A figure is not taken for renewed because the one of another period was.
    """
    figures, start = meter.find_meter(recorder), start_of_month(clock)
    earlier, asked = figures.figure(recorder, start, clock.now), figures.asked
    figures.figure(recorder, start + timedelta(days=1), clock.now)

    assert figures.renew(recorder, start, clock.now, after=asked) is not earlier


def test_a_figure_is_not_renewed_by_a_failure(recorder, clock, sandbox):
    """
    An earlier figure is not taken for renewed after the API has failed.
    """
    figures, start = meter.find_meter(recorder), start_of_month(clock)
    figures.figure(recorder, start, clock.now)
    asked = figures.asked
    sandbox.set_failure("422")
    for _ in range(2):
        with pytest.raises(LicensingError):
            figures.renew(recorder, start, clock.now, after=asked)


def test_a_later_figure_serves_an_earlier_request(recorder, clock):
    """
    Requests that wait for a figure take one that a later request has asked for, instead of asking one after the other.
    """
    figures, start = meter.find_meter(recorder), start_of_month(clock)
    figures.figure(recorder, start, clock.now)
    asked = figures.asked
    renewed = figures.renew(recorder, start, clock.now + timedelta(seconds=1), after=asked)

    assert figures.renew(recorder, start, clock.now, after=asked) is renewed


@pytest.mark.parametrize("is_away", [False, True])
def test_requests_that_come_together_ask_the_api_once(recorder, clock, monkeypatch, is_away):
    """
    A request that came earlier than the one that asked the API does not ask it again, also when it is away.
    """
    asked, fetch = [], meter.get_usage

    def get_usage(**call: Any) -> Any:
        asked.append(call)
        return fetch(**{**call, "base_url": "http://127.0.0.1:9"} if is_away else call)

    monkeypatch.setattr(meter, "get_usage", get_usage)
    app = starlette_async(recorder, convert, {"max_billable": 9, "clock": clock})
    app.convert()
    clock.now -= timedelta(milliseconds=5)

    assert (app.convert(), len(asked)) == (200, 1)


def start_of_month(clock: Clock) -> datetime:
    return clock.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@pytest.mark.parametrize("make", [starlette_async, fastapi_app])
def test_the_event_loop_goes_on_while_the_api_is_asked(make, recorder, clock, monkeypatch):
    """
    A request that waits for the API's figure does not block the others.
    """
    served, loops, went_on = threading.Event(), [], []
    fetch = meter.get_usage

    def get_usage(**call: Any) -> Any:
        loops[0].call_soon_threadsafe(served.set)
        went_on.append(served.wait(10))
        return fetch(**call)

    monkeypatch.setattr(meter, "get_usage", get_usage)
    app = make(recorder, convert, {"max_billable": 5, "clock": clock}).client.app

    async def serve() -> int | None:
        loops.append(asyncio.get_running_loop())
        return (await aexchange(app)).status

    assert (asyncio.run(serve()), went_on) == (200, [True])


def test_no_thread_to_renew_the_figure(recorder, clock, monkeypatch):
    """
    When the system allows no more threads, the old figure serves until it is a minute old.
    """
    limit, settlement = UsageLimit(9, clock=clock), Settlement(recorder)
    token = CURRENT.set(settlement)
    try:
        assert limit.check() is None
        clock.now += timedelta(seconds=40)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", _refuse_thread)
            assert limit.check() is None
        clock.now += timedelta(seconds=40)
        assert limit.check() is None
    finally:
        CURRENT.reset(token)


def _refuse_thread(_: threading.Thread) -> None:
    msg = "can't start new thread"
    raise RuntimeError(msg)


def test_far_from_the_limit_nothing_is_counted_for_a_second(recorder, clock):
    """
    The outbox is asked once a second, as long as sixteen processes could not pass the limit together.
    """
    app = starlette_async(recorder, convert, {"max_billable": 1_000, "clock": clock})
    app.convert()
    asked = recorder.outbox.asked
    app.statuses(19)
    assert recorder.outbox.asked == asked
    clock.now += timedelta(seconds=1)
    app.convert()

    assert recorder.outbox.asked == asked + 1


@pytest.mark.parametrize("away", ["api", "key", "expected", "added_after"])
def test_without_a_figure_every_request_passes(sandbox, clock, away, caplog):
    """
    When the API is away, the private key is missing or the outbox refuses, requests pass, and the log says so once.
    """
    settings = Settings(
        license_key=KEY,
        private_license_key=None if away == "key" else "rm_sec_limits",
        base_url="http://127.0.0.1:9" if away == "api" else sandbox.url,
        delivery="external",
    )
    outbox = Store()
    outbox.refuses = away
    recorder = UsageRecorder(settings, outbox=outbox)
    app = starlette_async(recorder, convert, {"max_billable": 0, "clock": clock})

    assert app.statuses(3) == [200] * 3
    assert actions(caplog) == ["limit_open"]
    assert counts(recorder) == {"pending": 3}
    recorder.stop()


def test_a_request_does_not_wait_for_a_name_server(clock, monkeypatch, caplog):
    """
    While the look-up of the API's name hangs, requests pass: nothing but a thread waits for it.
    """
    ended, answers = threading.Event(), []

    def look_up(*_: Any, **__: Any) -> Any:
        answers.append(ended.wait(10))
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(meter, "TIMEOUT", 0.01)
    settings = Settings(license_key=KEY, private_license_key="rm_sec_limits", base_url="http://licensing.test")
    recorder = UsageRecorder(replace(settings, delivery="external"), outbox=Store())
    app = starlette_async(recorder, convert, {"max_billable": 0, "clock": clock})

    assert (app.statuses(2), answers) == ([200, 200], [])
    assert "no answer within 0.01 s" in caplog.text
    ended.set()
    recorder.stop()


def test_requests_do_not_wait_for_an_outbox_that_has_refused(recorder, clock, monkeypatch):
    """
    An outbox that has refused after a long time is asked again after ten seconds, not by each request.
    """
    added_after, asked = recorder.outbox.added_after, []

    def refuse_late(*arguments: Any, **options: Any) -> Any:
        asked.append(clock.now)
        if len(asked) == 1:
            clock.now += timedelta(seconds=15)
            msg = "no answer for 15 s"
            raise OutboxError(msg)
        return added_after(*arguments, **options)

    monkeypatch.setattr(recorder.outbox, "added_after", refuse_late)
    app = starlette_async(recorder, convert, {"max_billable": 0, "clock": clock})

    assert (app.statuses(3), len(asked)) == ([200] * 3, 1)
    clock.now += timedelta(seconds=10)
    assert app.convert() == 429
    assert len(asked) > 1


@pytest.mark.parametrize("method", ["expected", "added_after"])
def test_requests_do_not_prolong_a_refusal(recorder, clock, method):
    """
    Ten seconds after an outbox has refused the limit holds again, however many requests came meanwhile.
    """
    app = starlette_async(recorder, convert, {"max_billable": 0, "clock": clock})
    recorder.outbox.refuses = method
    assert app.convert() == 200
    recorder.outbox.refuses = ""
    clock.now += timedelta(seconds=6)
    assert app.convert() == 200
    clock.now += timedelta(seconds=5)

    assert app.convert() == 429


def test_a_failed_renewal_is_tried_again(recorder, clock, sandbox, caplog):
    """
    When the API is back, the limit holds again after ten seconds; the next outage is logged again.
    """
    sandbox.set_failure("500")
    app = starlette_async(recorder, convert, {"max_billable": 0, "clock": clock})
    assert app.convert() == 200
    sandbox.set_failure()
    assert app.convert() == 200
    clock.now += timedelta(seconds=11)
    assert app.convert() == 429
    sandbox.set_failure("500")
    clock.now += timedelta(seconds=61)

    assert app.statuses(2) == [200, 200]
    assert actions(caplog) == ["limit_open", "limit_reached", "limit_open"]


@pytest.mark.parametrize("ending", ["skipped", "failed", "never entered"])
def test_work_that_is_not_billed_makes_room(recorder, clock, ending):
    """
    A request that fails, skips its point or ends before its endpoint uses up nothing, which is seen within a second.
    """

    def work() -> Any:
        if ending == "skipped":
            current_usage().skip()
        return JSONResponse({}, 500 if ending == "failed" else 200)

    def refuse() -> None:
        if ending == "never entered":
            raise HTTPException(401)

    app = fastapi_app(recorder, work, {"max_billable": 1, "clock": clock}, after=refuse)
    for _ in range(3):
        assert app.convert() != 429
        clock.now += timedelta(seconds=1)
    assert "deferred" not in counts(recorder)


def test_a_deferred_point_keeps_what_its_endpoint_says(recorder, clock):
    """
    A point that is deferred after it was let in has the endpoint's host.
    """

    def work() -> Any:
        current_usage().defer()
        return JSONResponse({}, 202)

    app = fastapi_app(recorder, work, {"max_billable": 1, "clock": clock}, host="https://fixed.app")

    assert app.statuses(2) == [202, 429]
    assert [stored.point.host for stored in recorder.outbox.list(State.DEFERRED)] == ["https://fixed.app"]


def test_an_own_key_is_one_point(recorder, clock):
    """
    An app that names its point itself leaves nothing else behind.
    """

    def work() -> Any:
        current_usage().idempotency_key = "render-1"
        return JSONResponse({})

    starlette_async(recorder, work, {"max_billable": 5, "clock": clock}).convert()

    assert [stored.point.idempotency_key for stored in recorder.outbox.list()] == ["render-1"]


def test_two_limits(recorder, clock):
    """
    Of two limits the tighter one holds, and a request counts once.
    """
    limits = {"max_billable": 2, "per": "day", "clock": clock}, {"max_billable": 4, "per": "month", "clock": clock}
    app = starlette_async(recorder, convert, *limits)

    assert app.statuses(3) == [200, 200, 429]
    assert counts(recorder) == {"pending": 2}


def test_a_limit_holds_while_points_are_spilled(sandbox, clock, tmp_path):
    """
    While the outbox takes no points but can be read, what it has is counted, and the limit holds.
    """
    outbox = SlowOutbox()
    settings = Settings(license_key=KEY, private_license_key="rm_sec_limits", base_url=sandbox.url, delivery="external")
    recorder = UsageRecorder(replace(settings, spill=f"sqlite:///{tmp_path}/spill.sqlite3"), outbox=outbox)
    app = starlette_async(recorder, convert, {"max_billable": 2, "clock": clock})
    assert app.statuses(3) == [200, 200, 429]
    outbox.refuses = True
    clock.now += timedelta(seconds=1)

    assert app.statuses(2) == [429, 429]
    outbox.refuses = False


def test_a_callable_may_let_a_request_pass(recorder, clock):
    """
    `on_limit` is told what was reached, and decides.
    """
    reached = []
    app = starlette_async(recorder, convert, {"max_billable": 0, "on_limit": reached.append, "clock": clock})
    assert app.convert() == 429
    passing = starlette_async(recorder, convert, {"max_billable": 0, "on_limit": lambda _: True, "clock": clock})

    assert passing.convert() == 200
    assert [(each.max_billable, each.per, each.event) for each in reached] == [(0, "month", None)]


def test_a_callable_may_give_another_answer(recorder, clock):
    """
    What `on_limit` raises is the answer.
    """

    def pay(_: Any) -> bool:
        raise HTTPException(402, "pay first")

    assert fastapi_app(recorder, convert, {"max_billable": 0, "on_limit": pay, "clock": clock}).convert() == 402


def test_the_log_warns_once(recorder, clock, caplog):
    """
    At 80 % of the limit, and when it is reached, the log says so, once each.
    """
    starlette_async(recorder, convert, {"max_billable": 10, "clock": clock}).statuses(13)

    assert actions(caplog) == ["limit_near", "limit_reached"]


def test_without_middleware_every_request_passes(caplog, monkeypatch):
    """
    Outside of a request that the middleware handles, the limit cannot count, and says so once.
    """
    monkeypatch.setattr("remotion_licensing_integrations.usage.mistakes._reported", set())
    limit = UsageLimit(0)

    assert [limit.check(), limit.check()] == [None, None]
    assert actions(caplog) == ["middleware_missing"]


def test_without_a_key_every_request_passes():
    """
    An app that records nothing has no limit.
    """
    recorder = UsageRecorder(Settings(), outbox=MemoryOutbox())
    app = starlette_async(recorder, convert, {"max_billable": 0})

    assert app.convert() == 200


def test_a_client_that_left_uses_up_nothing(recorder, clock):
    """
    When the request has ended before its point is stored, the point is removed again.
    """
    settlement = Settlement(recorder)
    record = recorder.record

    def leave_first(entry: Any, **options: Any) -> bool:
        if not settlement.settled:
            settlement.record("aborted")
        return record(entry, **options)

    recorder.record = leave_first
    token = CURRENT.set(settlement)
    try:
        UsageLimit(5, clock=clock).check()
    finally:
        CURRENT.reset(token)

    assert recorder.stop() is None
    assert counts(recorder) == {}


def test_a_child_has_figures_of_its_own(recorder, monkeypatch):
    """
    After a fork nothing of the parent's is used, for its lock may be taken.
    """
    parent = meter.find_meter(recorder)
    assert meter.find_meter(recorder) is parent
    monkeypatch.setattr(meter.os, "getpid", lambda: 1)

    assert meter.find_meter(recorder) is not parent


@pytest.mark.parametrize(
    "options",
    [
        {"max_billable": -1},
        {"max_billable": True},
        {"max_billable": "10"},
        {"max_billable": 1, "per": "week"},
        {"max_billable": 1, "event": "render"},
    ],
)
def test_bad_arguments(options):
    """
    An unusable argument is refused where the limit is made.
    """
    with pytest.raises(ConfigurationError, match=r"max_billable|per|event"):
        fastapi.usage_limit(**options)

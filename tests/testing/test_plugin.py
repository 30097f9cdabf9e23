"""
The fixture `remotion_usage` as an app's own tests use it.
"""

# ruff: noqa: FBT001 - pytest passes parameters by name

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder
from remotion_licensing_integrations.starlette import UsageMiddleware, usage_point

POINT = UsagePoint(event="cloud-render", host=None, succeeded=True)


@usage_point("cloud-render")
def convert(_: Any) -> PlainTextResponse:
    return PlainTextResponse("done")


def make_app(**settings: Any) -> Starlette:
    return Starlette(
        routes=[Route("/convert", convert, methods=["POST"])], middleware=[Middleware(UsageMiddleware, **settings)]
    )


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("remotion")}


@pytest.mark.parametrize("settings", [{}, {"license_key": "rm_pub_4bZ0kQ"}, {"delivery": "inline"}])
def test_app(settings: dict[str, Any], remotion_usage) -> None:
    """
    Points of an app are seen with a licence key and without, however it delivers.
    """
    with TestClient(make_app(**settings)) as client:
        client.post("/convert")

    assert [point.event for point in remotion_usage.points] == ["cloud-render"]


def test_nothing_is_written(remotion_usage, tmp_path: Path) -> None:
    """
    An app under the fixture leaves no file.
    """
    with TestClient(make_app(license_key="rm_pub_4bZ0kQ", delivery="inline")) as client:
        client.post("/convert")

    assert list(tmp_path.iterdir()) == []


def test_nothing_runs(remotion_usage) -> None:
    """
    An app under the fixture starts none of our threads.
    """
    before = threads()
    with TestClient(make_app(license_key="rm_pub_4bZ0kQ", delivery="inline")) as client:
        client.post("/convert")

        assert threads() <= before


def test_nothing_is_delivered(remotion_usage) -> None:
    """
    A point left in the app's own outbox is not delivered by a test.
    """
    recorder = UsageRecorder(Settings(license_key="rm_pub_4bZ0kQ", outbox="memory://"))
    recorder.outbox.add([POINT])

    assert recorder.deliver() == 0
    assert recorder.outbox.counts().pending == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_record(asynchronous: bool, remotion_usage) -> None:
    """
    Points recorded by hand are seen, and taken as committed.
    """
    recorder = UsageRecorder()
    committed = asyncio.run(recorder.arecord(POINT)) if asynchronous else recorder.record(POINT)

    assert committed
    assert remotion_usage.points == [POINT]


def test_same_key(remotion_usage) -> None:
    """
    Two points of one idempotency key are one, as in an outbox.
    """
    for _ in range(2):
        UsageRecorder().record(POINT)

    assert remotion_usage.points == [POINT]


def test_starts_empty(remotion_usage) -> None:
    """
    Each test sees its own points only.
    """
    assert remotion_usage.points == []


def test_undone(pytester: pytest.Pytester) -> None:
    """
    Outside the fixture recorders are what they were, and the plugin needs no import.
    """
    pytester.makepyfile(
        """
        from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder

        RECORDER = UsageRecorder(Settings(license_key="key", outbox="memory://", delivery="off"))
        POINT = UsagePoint(event="cloud-render", host=None, succeeded=True)

        def test_one(remotion_usage):
            assert RECORDER.record(POINT)
            [point] = remotion_usage.points
            assert (point.idempotency_key, RECORDER.counts().stored.pending) == (POINT.idempotency_key, 0)

        def test_two():
            assert RECORDER.record(POINT, wait=30)
            assert RECORDER.counts().stored.pending == 1
            RECORDER.stop()
        """
    )

    pytester.runpytest("-p", "no:randomly", "-p", "no:xdist", "-p", "no:django").assert_outcomes(passed=2)

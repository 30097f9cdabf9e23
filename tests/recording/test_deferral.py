"""
Deferred points, from the request that puts its work off to the end of the work.
"""

# ruff: noqa: FBT001 - pytest passes parameters by name

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from remotion_licensing_integrations import ConfigurationError, Settings, UsagePoint, UsageRecorder
from remotion_licensing_integrations.outbox import MemoryOutbox, Outbox
from remotion_licensing_integrations.points import decode_token, encode_token
from remotion_licensing_integrations.starlette import current_usage, usage_point
from tests._asgi import ORIGIN, QUIET, exchange
from tests._outboxes import PATIENCE
from tests._starlette import starlette_app

TOKEN = encode_token(
    UsagePoint(
        event="web-render", host=ORIGIN, succeeded=False, is_still=True, is_production=False, idempotency_key="render-1"
    )
)


@pytest.fixture
def make() -> Iterator[Callable[..., UsageRecorder]]:
    """
    Make recorders over a store, which are stopped in the end.
    """
    recorders: list[UsageRecorder] = []

    def make(*, outbox: Outbox, **settings: Any) -> UsageRecorder:
        recorders.append(UsageRecorder(Settings(**{**QUIET, **settings}), outbox=outbox))
        return recorders[-1]

    yield make
    for recorder in recorders:
        recorder.stop(0.5)


def accepting(tokens: list[str], *, status: int = 202, background: BackgroundTask | None = None) -> Route:
    @usage_point("web-render", is_still=True)
    async def accept(_: Any) -> PlainTextResponse:
        tokens.append(current_usage().defer())
        return PlainTextResponse("later", status, background=background)

    return Route("/convert", accept, methods=["POST"])


@pytest.mark.parametrize("status", [200, 202, 500])
def test_deferred_request(status: int, remotion_usage) -> None:
    """
    A deferred request gives no point by itself, whatever it answers.
    """
    exchange(starlette_app(accepting([], status=status)))

    assert remotion_usage.points == []


@pytest.mark.parametrize(("status", "number"), [(200, 1), (202, 1), (404, 0), (500, 0)])
def test_deferred_request_can_be_seen(status: int, number: int, remotion_usage) -> None:
    """
    A request that put its work off leaves a deferred point, unless it failed and so has told its client.
    """
    tokens: list[str] = []
    exchange(starlette_app(accepting(tokens, status=status)))

    assert [decode_token(token).idempotency_key for token in tokens] * number == [
        point.idempotency_key for point in remotion_usage.deferred
    ]


@pytest.mark.parametrize("succeeded", [True, False])
def test_complete(succeeded: bool, remotion_usage) -> None:
    """
    Completing the token records the request's point with the work's outcome.
    """
    tokens: list[str] = []
    exchange(starlette_app(accepting(tokens)), headers={"Origin": ORIGIN})
    UsageRecorder(Settings(**QUIET)).complete(tokens[0], succeeded=succeeded)

    (point,) = remotion_usage.points
    assert ("web-render", ORIGIN, True, succeeded) == (point.event, point.host, point.is_still, point.succeeded)


def test_complete_in_background(remotion_usage) -> None:
    """
    A background task of the response can complete the token.
    """
    tokens: list[str] = []
    recorder = UsageRecorder(Settings(**QUIET))

    async def convert() -> None:
        await recorder.acomplete(tokens[0], succeeded=True)

    exchange(starlette_app(accepting(tokens, background=BackgroundTask(convert))))

    assert [point.succeeded for point in remotion_usage.points] == [True]


@pytest.mark.parametrize("complete", ["complete", "acomplete"])
def test_unreported_failure(complete: str, make) -> None:
    """
    A failure that is not to be reported ends the deferral, and leaves no point.
    """
    outbox = MemoryOutbox()
    outbox.add([decode_token(TOKEN)])
    recorder = make(outbox=outbox, report_failures=False)
    ended = getattr(recorder, complete)(TOKEN, succeeded=False)

    assert (asyncio.run(ended) if complete == "acomplete" else ended) is False
    assert list(outbox.list()) == []


class FaultyOutbox(MemoryOutbox):
    """
    A store that deletes nothing before its gate is open, and then fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def discard(self, idempotency_keys: Any, states: Any = ()) -> Any:
        """
        Wait, and fail.
        """
        assert self.gate.wait(PATIENCE)
        raise ZeroDivisionError(idempotency_keys, states)


@pytest.mark.parametrize("complete", ["complete", "acomplete"])
def test_unreported_failure_waits_for_no_store(complete: str, make) -> None:
    """
    To end a deferral takes no longer than to record its outcome, whatever the store does.
    """
    outbox = FaultyOutbox()
    recorder = make(outbox=outbox, report_failures=False)
    ended = getattr(recorder, complete)(TOKEN, succeeded=False, wait=0)

    assert (asyncio.run(ended) if complete == "acomplete" else ended) is False
    outbox.gate.set()


def test_store_fails_to_end_a_deferral(make, caplog) -> None:
    """
    A store that fails otherwise than it should fails nobody's work; the log has it.
    """
    outbox = FaultyOutbox()
    outbox.gate.set()
    recorder = make(outbox=outbox, report_failures=False)

    assert recorder.complete(TOKEN, succeeded=False, wait=PATIENCE) is False
    assert [record.action for record in caplog.records] == ["outbox_refused"]


def test_no_deferral_without_a_licence_key() -> None:
    """
    A recorder that records nothing has no deferral to end either, and does not open its outbox.
    """
    recorder = UsageRecorder(Settings(report_failures=False), outbox=FaultyOutbox())

    assert recorder.complete(TOKEN, succeeded=False, wait=PATIENCE) is False


@pytest.mark.parametrize("succeeded", [None, 1, "yes"])
def test_complete_without_outcome(succeeded: Any) -> None:
    """
    A token cannot be completed without saying how.
    """
    with pytest.raises(ConfigurationError, match="succeeded: expected True or False"):
        UsageRecorder(Settings(**QUIET)).complete(TOKEN, succeeded=succeeded)


def test_complete_twice(remotion_usage) -> None:
    """
    Completing one token twice counts once.
    """
    recorder = UsageRecorder(Settings(**QUIET))
    recorder.complete(TOKEN, succeeded=True)
    recorder.complete(TOKEN, succeeded=True)

    assert len(remotion_usage.points) == 1


@pytest.mark.usefixtures("remotion_usage")
def test_refused_host() -> None:
    """
    A deferred point whose origin is not allowed has no host, and is counted as such.
    """
    tokens: list[str] = []
    recorder = UsageRecorder(Settings(**QUIET, allowed_hosts=("https://other.com",)))
    exchange(starlette_app(accepting(tokens), recorder=recorder), headers={"Origin": ORIGIN})

    assert decode_token(tokens[0], succeeded=True).host is None
    assert recorder.counts().hosts == {"refused": 1}

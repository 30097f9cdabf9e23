"""
The token between a 202 Accepted and the end of its work.
"""

# ruff: noqa: FBT001 - pytest passes parameters by name

from __future__ import annotations

import asyncio
import base64
import re
import threading
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from remotion_licensing_integrations import ConfigurationError, InvalidTokenError, Settings, UsagePoint, UsageRecorder
from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.points.point import EVENTS
from remotion_licensing_integrations.points.token import decode_token, encode_token
from remotion_licensing_integrations.starlette import current_usage, usage_point
from tests._asgi import ORIGIN, QUIET, exchange, starlette_app
from tests._outboxes import PATIENCE

POINT = UsagePoint(
    event="web-render", host=ORIGIN, succeeded=False, is_still=True, is_production=False, idempotency_key="render-1"
)
TOKEN = encode_token(POINT)
CARRIED = ("event", "host", "is_still", "is_production", "idempotency_key")

printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)
points = st.builds(
    UsagePoint,
    event=st.sampled_from(EVENTS),
    host=st.none() | printable,
    succeeded=st.booleans(),
    is_still=st.booleans(),
    is_production=st.booleans(),
    idempotency_key=printable,
)


def carried(point: UsagePoint) -> list[Any]:
    return [getattr(point, name) for name in CARRIED]


@given(points)
def test_round_trip(point: UsagePoint) -> None:
    """
    A token carries event, host, flags and key of any point.
    """
    assert carried(point) == carried(decode_token(encode_token(point), succeeded=True))


@given(points)
def test_url_safe(point: UsagePoint) -> None:
    """
    A token can stand in a URL as it is.
    """
    assert re.fullmatch(r"ru1\.[A-Za-z0-9_-]+", encode_token(point))


@pytest.mark.parametrize("succeeded", [True, False])
def test_outcome(succeeded: bool) -> None:
    """
    The outcome is the completion's, not the request's.
    """
    assert succeeded is decode_token(TOKEN, succeeded=succeeded).succeeded


def test_time() -> None:
    """
    The point occurred when it was completed.
    """
    assert decode_token(TOKEN, succeeded=True).occurred_at > POINT.occurred_at


def test_stays_readable() -> None:
    """
    Tokens that earlier releases gave out can be read.
    """
    token = "ru1.CxFWsFsid2ViLXJlbmRlciIsImh0dHBzOi8vbXlhcHAuY29tIix0cnVlLGZhbHNlLCJyZW5kZXItMSJd"

    assert carried(POINT) == carried(decode_token(token, succeeded=True))


@pytest.mark.parametrize("end", range(len(TOKEN)))
def test_cut(end: int) -> None:
    """
    A token that was cut anywhere is refused.
    """
    with pytest.raises(InvalidTokenError):
        decode_token(TOKEN[:end], succeeded=True)


@pytest.mark.parametrize("place", range(4, len(TOKEN) - 1))
def test_damaged(place: int) -> None:
    """
    A token with one other character is refused.
    """
    other = "A" if TOKEN[place] != "A" else "B"

    with pytest.raises(InvalidTokenError):
        decode_token(TOKEN[:place] + other + TOKEN[place + 1 :], succeeded=True)


@pytest.mark.parametrize(
    "token", ["", "ru1.", "ru2." + TOKEN[4:], TOKEN + "\n", TOKEN + "!", "ru1.é", None, 3, b"ru1."]
)
def test_foreign(token: Any) -> None:
    """
    What is no token is refused with the error for it.
    """
    with pytest.raises(InvalidTokenError, match="is not a deferral token"):
        decode_token(token, succeeded=True)


def test_nested_without_end() -> None:
    """
    A token that nobody here has made, too deep to be read, is refused as others are.
    """
    body = b"[" * 100_000
    token = "ru1." + base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).decode().rstrip("=")

    with pytest.raises(InvalidTokenError):
        decode_token(token, succeeded=True)


def test_licence_key_instead_of_a_token() -> None:
    """
    A licence key in the place of a token is not repeated by the error.
    """
    with pytest.raises(InvalidTokenError) as caught:
        decode_token("rm_pub_0123456789abcdef0123456789abcdef")

    assert "0123456789abcdef" not in str(caught.value)


@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    """
    No text makes reading fail in another way.
    """
    with pytest.raises(InvalidTokenError):
        decode_token("ru1." + text, succeeded=True)


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
def test_unreported_failure(complete: str) -> None:
    """
    A failure that is not to be reported ends the deferral, and leaves no point.
    """
    outbox = MemoryOutbox()
    outbox.add([decode_token(TOKEN)])
    recorder = UsageRecorder(Settings(**{**QUIET, "report_failures": False}), outbox=outbox)
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
def test_unreported_failure_waits_for_no_store(complete: str) -> None:
    """
    To end a deferral takes no longer than to record its outcome, whatever the store does.
    """
    outbox = FaultyOutbox()
    recorder = UsageRecorder(Settings(**{**QUIET, "report_failures": False}), outbox=outbox)
    ended = getattr(recorder, complete)(TOKEN, succeeded=False, wait=0)

    assert (asyncio.run(ended) if complete == "acomplete" else ended) is False
    outbox.gate.set()


def test_store_fails_to_end_a_deferral(caplog) -> None:
    """
    A store that fails otherwise than it should fails nobody's work; the log has it.
    """
    outbox = FaultyOutbox()
    outbox.gate.set()
    recorder = UsageRecorder(Settings(**{**QUIET, "report_failures": False}), outbox=outbox)

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

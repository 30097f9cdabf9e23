"""
What becomes of a usage point, outcome by outcome.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

from remotion_licensing_integrations.delivery.verdicts import KEY_MEMORY
from remotion_licensing_integrations.errors import NoAnswerError
from remotion_licensing_integrations.outbox import State
from remotion_licensing_integrations.points.point import Registration
from tests._delivery import DOWN, KEY, NO_ANSWER, OK, REFUSAL, SUCCESS, Rig, answer, failure
from tests._servers import answer as raw_answer
from tests._servers import raw_server, reset, silence, tls_context

DAY = 86_400.0  # seconds
HOUR = 3_600.0  # seconds


def test_success(rig) -> None:
    """
    A point that the API takes is registered, with its answer.
    """
    it = rig()

    assert it.deliver() == 1
    assert (it.get().state, it.get().attempts) == (State.REGISTERED, 1)
    assert it.get().registration == Registration(billable=True, classification="billable")


def test_nothing_due(rig) -> None:
    """
    Without due points nothing is sent.
    """
    it = rig(points=0)

    assert (it.deliver(), it.api.bodies) == (0, [])


def test_body(rig) -> None:
    """
    A point goes out with its own values and key.
    """
    it = rig()
    it.deliver()

    assert it.api.bodies == [
        {
            "event": "cloud-render",
            "apiKey": KEY,
            "host": None,
            "succeeded": True,
            "isStill": False,
            "isProduction": True,
            "idempotencyKey": "0",
        }
    ]


def test_free_license(rig) -> None:
    """
    The word for the free licence goes out as null.
    """
    it = rig(license_key="free-license")
    it.deliver()

    assert it.api.bodies[0]["apiKey"] is None


@pytest.mark.parametrize("status", [400, 401, 500])
def test_error_text_that_a_terminal_obeys(rig, caplog, status: int) -> None:
    """
    What a server says neither begins a line of a log, nor moves a terminal's cursor, in the log and in the outbox.
    """
    hostile = "a\nCRITICAL forged\r\x1b[2J\x9b1m\u202e\u2028b"
    it = rig(answer(status, json.dumps({"success": False, "error": hostile}).encode()))
    it.deliver()

    said = [*caplog.messages, it.get().last_error, it.deliverer.pause_reason or ""]
    assert all(text.isprintable() for text in said)
    assert r"a\nCRITICAL forged\r\x1b[2J\x9b1m\u202e\u2028b" in it.get().last_error


TRANSIENT = [
    *(answer(status, b'{"error":"busy"}') for status in (408, 409, 425, 500, 502, 503, 504, 520)),
    *(answer(200, body) for body in (b"<html>", b'{"success":tr', b"[]", b"", b"null", b"{}", b"NaN")),
    answer(204, b""),
]


@pytest.mark.parametrize("reply", TRANSIENT, ids=lambda reply: repr(reply({})))
def test_transient(rig, reply: Any) -> None:
    """
    Trouble that passes costs an attempt and is tried again within 4 s, with the same key.
    """
    it = rig(reply, OK)
    it.deliver()

    assert (it.get().state, it.get().attempts, it.wait()) == (State.PENDING, 1, 4)
    it.clock.now += 4
    assert it.deliver() == 1
    assert it.api.keys == ["0", "0"]


def test_transient_says_why(rig) -> None:
    """
    The last error stays with the point.
    """
    it = rig(answer(500, b'{"error":"busy"}'))
    it.deliver()

    assert it.get().last_error == "UnavailableError: HTTP 500: busy"


@pytest.mark.parametrize(("retry_after", "wait"), [("60", 60), ("1", 4), ("soon", 4), ("9" * 20, HOUR)])
def test_transient_with_retry_after(rig, retry_after: str, wait: float) -> None:
    """
    A point is not tried again before the moment that the API names, an hour at the most.
    """
    it = rig(answer(500, b"", retry_after=retry_after))
    it.deliver()

    assert it.wait() == wait


def test_backoff_never_exceeds_its_cap(rig) -> None:
    """
    However often a point fails among others that succeed, its wait doubles up to 15 minutes.
    """
    it = rig(lambda body: (answer(500, b"") if body["idempotencyKey"] == "0" else OK)(body))
    waits = []
    for number in range(1, 15):
        it.add(f"other {number}")
        it.deliver()
        waits.append(it.wait())
        it.clock.now += it.wait()

    assert waits == [4, 8, 16, 32, 64, 128, 256, 512, *[900] * 6]


@pytest.mark.parametrize("name", ["ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"])
def test_not_sent(rig, name: str) -> None:
    """
    A request that never left costs no attempt and leaves no doubt.
    """
    it = rig(failure(name))
    it.deliver()

    assert (it.get().state, it.get().attempts, it.get().unanswered_since) == (State.PENDING, 0, None)
    assert 0 < it.wait() <= 4


@pytest.mark.parametrize("name", ["ReadTimeout", "ReadError", "RemoteProtocolError", "WriteError"])
def test_no_answer(rig, name: str) -> None:
    """
    A request without an answer costs an attempt and notes since when the point may have been counted.
    """
    it = rig(failure(name))
    it.deliver()

    assert (it.get().state, it.get().attempts) == (State.PENDING, 1)
    assert it.get().unanswered_since.timestamp() == it.clock.now


def test_no_answer_is_repeated_with_the_same_key(rig) -> None:
    """
    For 24 h the key makes a repeat safe; when it is answered, all is well.
    """
    it = rig(NO_ANSWER, OK)
    it.deliver()
    it.clock.now += KEY_MEMORY - 1

    assert it.deliver() == 1
    assert it.api.keys == ["0", "0"]


def test_no_answer_for_a_day(rig, caplog) -> None:
    """
    After 24 h a point that may have been counted is held, and not sent once more.
    """
    it = rig(NO_ANSWER, OK)
    it.deliver()
    it.clock.now += KEY_MEMORY

    assert it.deliver() == 0
    assert (it.get().state, it.get().attempts, it.api.keys) == (State.HELD, 1, ["0"])
    assert "so long ago that the API may have forgotten its key" in it.get().last_error
    assert [record.action for record in caplog.records] == ["point_held"]


def test_held_points_do_not_stop_others(rig) -> None:
    """
    Points that are held unsent make room for those behind them.
    """
    it = rig(NO_ANSWER, NO_ANSWER, OK, points=2)
    it.deliver()
    it.clock.now += KEY_MEMORY
    it.add("new")

    assert it.deliver() == 1
    assert it.states() == {"held": 2, "registered": 1}


def test_first_doubt_counts(rig) -> None:
    """
    The 24 h begin with the first attempt that was not answered.
    """
    it = rig(NO_ANSWER)
    it.deliver()
    since = it.get().unanswered_since
    it.clock.now += HOUR
    it.deliver()

    assert (it.get().unanswered_since, it.get().attempts) == (since, 2)


def test_hanging_api_holds_after_a_day(rig) -> None:
    """
    An API that never answers for two days leaves held points, none sent later than 24 h after its first attempt.
    """
    it = rig(NO_ANSWER, points=3)
    it.run(2 * DAY)

    assert it.states() == {"held": 3}


def test_no_answer_without_idempotency(rig) -> None:
    """
    Without a key on the wire, a point that may have been counted is held at once.
    """
    it = rig(NO_ANSWER, idempotency="off")
    it.deliver()

    assert (it.get().state, it.get().attempts) == (State.HELD, 1)
    assert it.get().last_error.endswith("NoAnswerError: http://api.test: scripted (ReadTimeout)")


def test_idempotency_switched_off_later(rig) -> None:
    """
    A point that is in doubt when the key is switched off is not sent again.
    """
    it = rig(NO_ANSWER, OK)
    it.deliver()
    it.clock.now += HOUR
    it.new_deliverer(idempotency="off").deliver()

    assert (it.get().state, it.api.keys) == (State.HELD, ["0"])


def test_no_answer_then_not_sent(rig) -> None:
    """
    A doubt stays when a later attempt does not even leave.
    """
    it = rig(NO_ANSWER, DOWN)
    it.deliver()
    since = it.get().unanswered_since
    it.clock.now += 60
    it.deliver()

    assert (it.get().unanswered_since, it.get().attempts) == (since, 1)


REFUSALS = [*(answer(status, b'{"error":"x"}') for status in (400, 413, 415, 422)), answer(200, REFUSAL)]


@pytest.mark.parametrize("reply", REFUSALS, ids=lambda reply: repr(reply({})))
def test_refusal(rig, reply: Any, caplog) -> None:
    """
    A definite refusal rejects that point alone, and says which.
    """
    it = rig(lambda body: (reply if body["idempotencyKey"] == "1" else OK)(body), points=3)

    assert it.deliver() == 2
    assert (it.get("1").state, it.get("1").attempts) == (State.REJECTED, 1)
    assert [(record.action, "point 1: " in record.message) for record in caplog.records] == [("point_rejected", True)]


def test_refusal_is_retried_by_hand(rig) -> None:
    """
    A rejected point that a person retries goes out with the same key.
    """
    it = rig(answer(400, REFUSAL), OK)
    it.deliver()
    it.outbox.retry(["0"])

    assert it.deliver() == 1
    assert it.api.keys == ["0", "0"]


def test_crash(rig, caplog) -> None:
    """
    An unexpected exception while sending is logged with its traceback, and the point tried again.
    """

    def crash(_: Any) -> Any:
        msg = "boom"
        raise RuntimeError(msg)

    it = rig(crash, OK)
    it.deliver()

    assert (it.get().state, it.get().attempts, it.get().last_error) == (State.PENDING, 1, "RuntimeError: boom")
    assert [(record.action, record.exc_info[1].args) for record in caplog.records] == [("send_crashed", ("boom",))]
    it.clock.now += 4
    assert it.deliver() == 1


def test_client_that_cannot_be_made(rig, monkeypatch) -> None:
    """
    A sender that cannot even make its client fails its point, and works once it can.
    """
    it = rig(OK)
    with monkeypatch.context() as patch:
        patch.setattr("remotion_licensing_integrations.delivery.senders.LicensingClient", lambda *_, **__: 1 / 0)
        it.deliver()

    assert it.get().last_error == "ZeroDivisionError: division by zero"
    it.clock.now += 4
    assert it.deliver() == 1


@pytest.mark.parametrize("idempotency", ["header", "off"])
def test_key_not_in_the_body(rig, idempotency: str) -> None:
    """
    The body has no key when it goes elsewhere or nowhere.
    """
    it = rig(idempotency=idempotency)
    it.deliver()

    assert "idempotencyKey" not in it.api.bodies[0]


def deliver_to(it: Rig, url: str, **settings: Any) -> None:
    """
    Deliver once over real sockets.
    """
    it._options["transport"] = None
    it.deliverer = it.new_deliverer(base_url=url, **settings)
    it.deliver()


@pytest.mark.parametrize("script", [reset(), silence()], ids=["reset", "silence"])
def test_server_that_does_not_answer(rig, script: Any) -> None:
    """
    A server that takes the request and gives no answer within `timeout` leaves the point in doubt.
    """
    it = rig()
    with raw_server(script) as server:
        deliver_to(it, server.url, timeout=0.5)

    assert it.get().last_error.startswith(NoAnswerError.__name__)
    assert it.get().unanswered_since is not None


def test_closed_port(rig) -> None:
    """
    A refused connection costs no attempt.
    """
    it = rig()
    deliver_to(it, "http://127.0.0.1:1")

    assert (it.get().attempts, it.get().unanswered_since) == (0, None)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(rig, status: int) -> None:
    """
    A redirect pauses delivery, and its target gets neither the key nor anything else.
    """
    it = rig()
    with (
        raw_server(raw_answer()) as target,
        raw_server(raw_answer(b"", status, {"Location": f"{target.url}/x"})) as api,
    ):
        deliver_to(it, api.url)

        assert (len(api.requests), target.connections) == (1, 0)
    assert it.deliverer.pause_reason.startswith(f"base_url {api.url} does not point to the licensing API.")
    assert (it.get().state, it.get().attempts) == (State.PENDING, 0)


def test_bad_certificate(rig, tmp_path) -> None:
    """
    A certificate that nobody vouches for pauses delivery without an attempt.
    """
    it = rig()
    with raw_server(raw_answer(), context=tls_context(tmp_path)) as server:
        deliver_to(it, server.url)

    assert re.search("does not point to the licensing API.*CertificateError", it.deliverer.pause_reason)
    assert (it.get().attempts, server.requests) == (0, [])


def test_key_is_in_no_log_line(rig, caplog) -> None:
    """
    An API that repeats the licence key brings it neither into the log nor into the store.
    """
    caplog.set_level(logging.DEBUG)
    it = rig(answer(401, b'{"error":"Invalid API key %s"}' % KEY.encode()), answer(200, SUCCESS))
    it.deliver()

    assert KEY not in caplog.text + it.get().last_error + it.deliverer.pause_reason


def test_lost_claim_without_a_key(rig) -> None:
    """
    A point whose deliverer was killed is held, not sent again, when no idempotency key makes a repeat safe.
    """
    it = rig(idempotency="off")
    it.outbox.claim(1, lease=60)
    it.clock.now += 100

    assert it.deliver() == 0
    assert (it.get().state, it.api.bodies) == (State.HELD, [])


def test_lease_that_is_nearly_over(rig) -> None:
    """
    A point whose turn comes when its lease might end before its answer goes back unsent.
    """
    it = rig(points=2, concurrency=1)

    def slow(body: dict[str, Any]) -> Any:
        it.clock.now += it.settings.lease
        return OK(body)

    it.api.replies = [slow, OK]
    it.deliver()

    assert it.api.keys == ["0", "1"]
    assert it.get("1").attempts == 1

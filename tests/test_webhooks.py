"""
What becomes of a webhook of Remotion Lambda, whatever framework has received it.
"""

# ruff: noqa: FBT001 - pytest passes parameters by name

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotion_licensing_integrations import UsagePoint, UsageRecorder, set_default_recorder, webhooks
from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.outbox import MemoryOutbox, State
from remotion_licensing_integrations.points.token import encode_token
from remotion_licensing_integrations.recording import recorder as recorder_module
from remotion_licensing_integrations.settings import Settings
from remotion_licensing_integrations.testing.recorded import RecordedUsage
from remotion_licensing_integrations.usage import CURRENT, Settlement
from remotion_licensing_integrations.webhooks import Webhook, WebhookAnswer, WebhookReceiver

from ._asgi import ORIGIN, PATIENCE, QUIET
from ._recorders import actions
from ._webhooks import DEFERRED, GOLDEN, SECRET, SIGNED, TOKEN, golden, payload, sign, signed, with_token

RECEIVER = WebhookReceiver(SECRET)
BOTH = pytest.mark.parametrize("how", ["record", "arecord"])
KEY = "remotion-lambda-abcdefghij"


def read(content: Any, receiver: WebhookReceiver = RECEIVER, *, mode: str = "production") -> Webhook | WebhookAnswer:
    body, headers = signed(content)
    return receiver.read(body, signature=headers["X-Remotion-Signature"], mode=mode)


def record(how: str, content: Any, **options: Any) -> WebhookAnswer:
    """
    Read a genuine webhook, and record its point.
    """
    receiver = WebhookReceiver(SECRET, **{"recorder": UsageRecorder(Settings(**QUIET)), **options})
    webhook = read(content, receiver)
    assert isinstance(webhook, Webhook)
    return receiver.record(webhook) if how == "record" else asyncio.run(receiver.arecord(webhook))


def stored(recorder: UsageRecorder) -> list[tuple[str, bool | None, State]]:
    return [(row.point.idempotency_key, row.point.succeeded, row.state) for row in recorder.outbox.list()]


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case["name"])
def test_golden(case: dict[str, Any]) -> None:
    """
    What Remotion's own sender signs is understood.
    """
    body, headers = golden(case)
    webhook = WebhookReceiver(case["secret"]).read(
        body, signature=headers["X-Remotion-Signature"], mode=headers["X-Remotion-Mode"]
    )

    assert isinstance(webhook, Webhook)
    assert (webhook.payload, webhook.key) == (json.loads(body), "remotion-lambda-bm2v0f3xkq")
    assert (webhook.ending == "whole") == (headers["X-Remotion-Status"] == "success")
    assert (webhook.point is None) == ("usage_token" not in (webhook.payload["customData"] or {}))


def test_golden_without_secret() -> None:
    """
    What Remotion's own sender sends of a render without a secret is refused.
    """
    body, headers = golden(GOLDEN["no secret"])
    answer = RECEIVER.read(body, signature=headers["X-Remotion-Signature"], mode=headers["X-Remotion-Mode"])

    assert headers["X-Remotion-Signature"] == "NO_SECRET_PROVIDED"
    assert answer == WebhookAnswer(401, "it is unsigned; was `secret` passed to the render's webhook?")


def test_signature_of_remotion() -> None:
    """
    The signature is the one that Remotion's own test of `calculateSignature` expects.

    Source: remotion-dev/remotion, packages/serverless/src/test/invoke-webhook.test.ts.
    """
    signature = (
        "sha512=faa8735b7bac44d521749b45aa2c95cb6204822f54eb18f85aeb30b9a29d309a"
        "138f6b7358653336c592a69e29eb696ccc4f2c6c20335d3deb76b09efd4b6a5d"
    )
    receiver = WebhookReceiver("INSECURE_DEFAULT_SECRET")

    assert receiver.read(b'{"payload":"test"}', signature=signature, mode=None) == WebhookAnswer(200)


BODY, HEADERS = signed(payload())
SIGNATURE = HEADERS["X-Remotion-Signature"]


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (BODY, SIGNATURE),
        (BODY + b" ", SIGNATURE),
        (BODY[:-1], SIGNATURE),
        (BODY, SIGNATURE[:-1]),
        (BODY, SIGNATURE.upper()),
        (BODY, SIGNATURE.removeprefix("sha512=")),
        (BODY, sign(BODY, "another secret")),
        (BODY, "sha512="),
        (BODY, "sha512=é"),
        (BODY, "NO_SECRET_PROVIDED"),
        (BODY, ""),
        ('{"renderId":"é"}'.encode(), sign('{"renderId":"é"}'.encode())),
    ],
)
def test_same_as_remotion_lambda(body: bytes, signature: str) -> None:
    """
    A signature is right when Remotion's own Python package takes it, and not otherwise.
    """
    remotion_lambda = pytest.importorskip("remotion_lambda")
    try:
        remotion_lambda.validate_webhook_signature(SECRET, body, signature)
        right = True
    except Exception:  # noqa: BLE001 - it has several
        right = False

    answer = RECEIVER.read(body, signature=signature, mode="production")

    assert right == (getattr(answer, "status", 200) != 401)


@given(st.binary(), st.none() | st.text(), st.none() | st.text())
def test_any_request(body: bytes, signature: str | None, mode: str | None) -> None:
    """
    Without a right signature a request is refused, whatever else is in it.
    """
    answer = WebhookReceiver(SECRET).read(body, signature=signature, mode=mode)

    assert isinstance(answer, WebhookAnswer)
    assert answer.status == 401


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["success", "error", "timeout"]) | anything,
        "renderId": st.text() | anything,
        "customData": st.fixed_dictionaries({"usage_token": st.just(TOKEN) | anything}) | anything,
    },
)


@given(body=(likely | anything).map(lambda value: json.dumps(value).encode()) | st.binary())
def test_any_signed_body(body: bytes) -> None:
    """
    Whatever is rightly signed is a webhook whose point can be recorded, or has an answer.
    """
    receiver = WebhookReceiver(SECRET, recorder=UsageRecorder(Settings(**QUIET), keeper=RecordedUsage()))
    result = read(body, receiver)
    answer = receiver.record(result) if isinstance(result, Webhook) else result

    assert answer.status in {200, 400}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[1]", b"null", b"9" * 5000, b"[" * 100_000])
def test_no_object(body: bytes) -> None:
    """
    A genuine request whose body is not a JSON object is a bad one.
    """
    assert read(body) == WebhookAnswer(400, "its body is not a JSON object")


@pytest.mark.parametrize("render_id", [None, "", 7, ["a"], "é", "\ud800", "a" * 256, "a\n"])
def test_no_render(render_id: Any, caplog) -> None:
    """
    A genuine webhook that names neither a usable render nor a token is a bad one, and the log says so.
    """
    assert read(payload(renderId=render_id), WebhookReceiver(SECRET)).status == 400
    assert actions(caplog) == ["webhook_refused"]


def test_token_without_render() -> None:
    """
    A token says enough.
    """
    webhook = read({"type": "success", "customData": {"usage_token": TOKEN}})

    assert isinstance(webhook, Webhook)
    assert webhook.point.idempotency_key == DEFERRED.idempotency_key


@pytest.mark.parametrize("data", [None, {}, [], "text", {"usage_token": None}, {"other": TOKEN}])
def test_no_token(data: Any, caplog) -> None:
    """
    A webhook needs no token, and is known by its render then.
    """
    webhook = read(payload(customData=data))

    assert isinstance(webhook, Webhook)
    assert (webhook.point, webhook.key, caplog.records) == (None, KEY, [])


@pytest.mark.parametrize("token", ["", "render-7", TOKEN[:-1], 7, [TOKEN], "\ud800"])
def test_damaged_token(token: Any, caplog) -> None:
    """
    A token that is none is logged, and the webhook known by its render.
    """
    webhook = read(with_token(token=token))

    assert isinstance(webhook, Webhook)
    assert (webhook.point, webhook.key, actions(caplog)) == (None, KEY, ["bad_token"])


@pytest.mark.parametrize("kind", ["progress", "", None, 1, ["success"], {}])
def test_unknown_type(kind: Any, caplog) -> None:
    """
    A type that does not say how the render ended is logged, and nothing else.
    """
    assert read(payload(kind), WebhookReceiver(SECRET)) == WebhookAnswer(200)
    assert actions(caplog) == ["webhook_ignored"]


def test_demo(caplog) -> None:
    """
    A webhook of the test tool in Remotion's documentation is logged, and nothing else.
    """
    assert read(payload(), WebhookReceiver(SECRET), mode="demo") == WebhookAnswer(200)
    assert actions(caplog) == ["webhook_ignored"]


def test_ignored_webhooks_do_not_fill_the_log(caplog) -> None:
    """
    A signed webhook that is sent again and again is logged once, and of very many types the first ones.
    """
    receiver = WebhookReceiver(SECRET)
    for kind in map(str, range(1_000)):
        read(payload(kind), receiver)
        read(payload(), receiver, mode="demo")

    assert len(caplog.records) == 100


def test_unsigned_demo() -> None:
    """
    A demo, too, has to be signed.
    """
    assert RECEIVER.read(BODY, signature=None, mode="demo").status == 401


@pytest.mark.parametrize("surplus", [0, 1])
def test_longest_body(surplus: int) -> None:
    """
    A body may be as long as the limit, and not a byte longer.
    """
    result = read(BODY, WebhookReceiver(SECRET, max_body=len(BODY) - surplus))

    assert isinstance(result, Webhook) == (not surplus)
    assert surplus == (getattr(result, "status", None) == 413)


def test_refusals_are_logged_once(caplog) -> None:
    """
    Strangers do not fill the log: each reason for a refusal is said once, and what was wrong with it.
    """
    receiver = WebhookReceiver(SECRET)
    for signature in (None, "sha512=1", "NO_SECRET_PROVIDED", "sha512=2"):
        receiver.read(BODY, signature=signature, mode=None)

    assert actions(caplog) == ["webhook_refused"] * 2
    assert "it is unsigned" in caplog.records[0].message
    assert "its signature is wrong" in caplog.records[1].message


def test_secret_of_the_environment(monkeypatch) -> None:
    """
    Without a secret the one in the environment serves.
    """
    monkeypatch.setenv("REMOTION_WEBHOOK_SECRET", SECRET)

    assert isinstance(read(payload(), WebhookReceiver(None)), Webhook)


def test_secret_over_the_environment(monkeypatch) -> None:
    """
    A given secret wins over the environment.
    """
    monkeypatch.setenv("REMOTION_WEBHOOK_SECRET", "another secret")

    assert isinstance(read(payload(), WebhookReceiver(SECRET)), Webhook)


@pytest.mark.parametrize("value", [None, ""])
def test_no_secret(value: str | None, monkeypatch) -> None:
    """
    Without any secret the app does not start, and the error names the variable.
    """
    if value is not None:
        monkeypatch.setenv("REMOTION_WEBHOOK_SECRET", value)

    with pytest.raises(ConfigurationError, match="set REMOTION_WEBHOOK_SECRET"):
        WebhookReceiver(None)


@pytest.mark.parametrize("secret", ["", b"a secret", object()])
def test_unusable_secret(secret: Any) -> None:
    """
    A secret that is empty or no text stops the app from starting, and is not in the error.
    """
    with pytest.raises(ConfigurationError, match="secret: expected a non-empty string") as caught:
        WebhookReceiver(secret)

    assert "a secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"event": "render"}, {"host": "myapp.com"}, *({"max_body": size} for size in (0, "1 MB", 1e6, True))],
)
def test_unusable_option(options: dict[str, Any]) -> None:
    """
    An unusable option stops the app from starting, and the error names it.
    """
    with pytest.raises(ConfigurationError, match=f"^{next(iter(options))}: "):
        WebhookReceiver(SECRET, **options)


@pytest.mark.parametrize("secret", ["geheim", "“ä”", "\ud800"])
def test_secret_is_not_shown(secret: str, caplog) -> None:
    """
    Neither the receiver nor what it logs or answers shows the secret, whatever is in it.
    """
    receiver = WebhookReceiver(secret)
    answers = [receiver.read(BODY, signature=signature, mode=None) for signature in (None, "sha512=1")]

    shown = f"{receiver!r} {vars(receiver)} {answers} {caplog.text}"
    assert secret not in shown


@BOTH
@pytest.mark.parametrize(("kind", "succeeded"), [("success", True), ("error", False), ("timeout", False)])
def test_deferred_point(how: str, kind: str, succeeded: bool, make_recorder) -> None:
    """
    With a token the deferred point gets its outcome.
    """
    recorder = make_recorder()
    recorder.record(DEFERRED, wait=PATIENCE)

    assert record(how, with_token(kind), recorder=recorder) == WebhookAnswer(200)
    assert stored(recorder) == [("deferred-1", succeeded, State.PENDING)]


@BOTH
@pytest.mark.parametrize(("kind", "succeeded"), [("success", True), ("error", False), ("timeout", False)])
def test_own_point(how: str, kind: str, succeeded: bool, make_recorder) -> None:
    """
    Without a token the render gives a point of its own, with the key of its id.
    """
    recorder = make_recorder()

    assert record(how, payload(kind), recorder=recorder) == WebhookAnswer(200)
    assert stored(recorder) == [(KEY, succeeded, State.PENDING)]


@pytest.mark.parametrize("content", [payload(), with_token()])
def test_repeats(content: dict[str, Any], remotion_usage) -> None:
    """
    A webhook that comes again counts once, and the first outcome stands.
    """
    for kind in ("success", "success", "timeout"):
        assert record("record", {**content, "type": kind}) == WebhookAnswer(200)

    assert [point.succeeded for point in remotion_usage.points] == [True]


def test_fields_of_the_settings(remotion_usage) -> None:
    """
    A point of its own takes host and production from the settings, and is a cloud render.
    """
    record("record", payload(), recorder=UsageRecorder(Settings(**QUIET, host=ORIGIN, is_production=False)))

    [point] = remotion_usage.points
    assert (point.event, point.host, point.is_still, point.is_production) == ("cloud-render", ORIGIN, False, False)


def test_fields_of_the_receiver(remotion_usage) -> None:
    """
    A point of its own takes event and host of the receiver first.
    """
    recorder = UsageRecorder(Settings(**QUIET, host=ORIGIN))
    record("record", payload(), recorder=recorder, event="web-render", host="https://other.com")

    [point] = remotion_usage.points
    assert (point.event, point.host) == ("web-render", "https://other.com")


def test_fields_of_a_token(remotion_usage) -> None:
    """
    A token has its own event and host.
    """
    record("record", with_token(), event="cloud-render", host="https://other.com")

    [point] = remotion_usage.points
    assert (point.event, point.host) == (DEFERRED.event, DEFERRED.host)


@BOTH
def test_failures_are_not_reported(how: str, make_recorder) -> None:
    """
    Where failures are not reported, the deferral of a failed render goes, and the webhook need not come again.
    """
    recorder = make_recorder(report_failures=False)
    recorder.record(DEFERRED, wait=PATIENCE)

    assert record(how, with_token("error"), recorder=recorder) == WebhookAnswer(200)
    assert record(how, payload("timeout"), recorder=recorder) == WebhookAnswer(200)
    assert stored(recorder) == []


@BOTH
def test_no_licence_key(how: str, make_recorder) -> None:
    """
    Without a licence key nothing is recorded, and the webhook need not come again.
    """
    recorder = make_recorder(license_key=None, delivery="inline")

    assert record(how, payload(), recorder=recorder) == WebhookAnswer(200)
    assert stored(recorder) == []


@BOTH
def test_store_that_refuses(how: str, make_recorder, slow_outbox) -> None:
    """
    While the store refuses, the webhook shall come again; then it counts once all the same.
    """
    recorder = make_recorder()
    slow_outbox.refuses = True
    first = record(how, payload(), recorder=recorder)
    slow_outbox.refuses = False
    recorder.stop(PATIENCE)

    assert first == WebhookAnswer(503, "the usage point is not recorded yet")
    assert record(how, payload(), recorder=recorder) == WebhookAnswer(200)
    assert stored(recorder) == [(KEY, True, State.PENDING)]


@BOTH
def test_store_that_hangs(how: str, make_recorder, slow_outbox, monkeypatch) -> None:
    """
    The wait for a commit is bounded, and the webhook shall come again.
    """
    monkeypatch.setattr(webhooks, "WEBHOOK_COMMIT_WAIT", 0.01)
    slow_outbox.gate.clear()

    assert record(how, payload(), recorder=make_recorder()).status == 503


@BOTH
def test_patience(how: str, make_recorder, slow_outbox, monkeypatch) -> None:
    """
    No user waits for the answer, so a commit may take longer than in a request.
    """
    monkeypatch.setattr(recorder_module, "COMMIT_WAIT", 0)
    slow_outbox.gate.clear()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(record, how, payload(), recorder=make_recorder())
        slow_outbox.wait_entered()
        slow_outbox.gate.set()

    assert answer.result() == WebhookAnswer(200)


@BOTH
def test_crash(how: str, make_recorder, monkeypatch, caplog) -> None:
    """
    An error of ours is logged, and the webhook shall come again.
    """
    recorder = make_recorder()
    monkeypatch.setattr(recorder, "_submit", None)

    assert record(how, payload(), recorder=recorder).status == 503
    assert actions(caplog) == ["record_crashed", "point_logged"]


@BOTH
def test_unusable_settings(how: str, monkeypatch, caplog) -> None:
    """
    With settings that no recorder can be made of, the log says so, and the webhook shall come again.
    """
    monkeypatch.setenv("REMOTION_LICENSING_TIMEOUT", "soon")

    assert record(how, payload(), recorder=None).status == 503
    assert actions(caplog) == ["bad_settings"]


@pytest.mark.parametrize("used", ["given", "request", "default"])
def test_recorder(used: str, make_recorder) -> None:
    """
    The given recorder goes before the request's, and that one before the default.
    """
    three = {name: make_recorder(store=MemoryOutbox()) for name in ("given", "request", "default")}
    set_default_recorder(three["default"])
    around = CURRENT.set(Settlement(three["request"]) if used != "default" else None)
    try:
        record("record", payload(), recorder=three["given"] if used == "given" else None)
    finally:
        CURRENT.reset(around)

    counts = {name: recorder.outbox.counts().pending for name, recorder in three.items()}
    assert counts == {name: int(name == used) for name in three}


@BOTH
@pytest.mark.parametrize("delivery", ["inline", "external"])
def test_inline(how: str, delivery: str, make_recorder, monkeypatch) -> None:
    """
    With delivery "inline" the answer carries the delivery, for when it has gone out.
    """
    delivered: list[float | None] = []
    recorder = make_recorder(delivery=delivery, timeout=3)
    monkeypatch.setattr(recorder, "deliver", delivered.append)
    after = record(how, payload(), recorder=recorder).after
    if after:
        assert delivered == []
        after()

    assert delivered == ([3] if delivery == "inline" else [])


def test_inline_that_fails(make_recorder, slow_outbox, monkeypatch, caplog) -> None:
    """
    A delivery after the answer that meets an error is logged.
    """
    recorder = make_recorder(delivery="inline")
    after = record("record", payload(), recorder=recorder).after
    monkeypatch.setattr(recorder, "_running", None)
    assert after is not None
    after()

    assert actions(caplog) == ["delivery_crashed"]


def test_token_fits() -> None:
    """
    A token of the longest host and key is less than the 1,024 bytes that Remotion lets `customData` have.
    """
    name = ".".join(["a" * 63] * 3 + ["a" * 61])
    point = UsagePoint(
        event="webcodec-conversion",
        host=f"https://{name}:65535",
        succeeded=None,
        is_still=True,
        idempotency_key="k" * 255,
    )

    assert len(name) == 253
    assert len(json.dumps({"usage_token": encode_token(point)})) < 1024


def test_remotion_lambda() -> None:
    """
    Remotion's own Python package puts the token where the webhook will bring it from.
    """
    remotion_lambda = pytest.importorskip("remotion_lambda")
    models = pytest.importorskip("remotion_lambda.models")
    client = remotion_lambda.RemotionClient(region="us-east-1", serve_url="https://site", function_name="f")
    webhook = models.Webhook(url="https://myapp.com/hook", secret=SECRET, customData={"usage_token": TOKEN})
    request = json.loads(client.construct_render_request(models.RenderMediaParams(webhook=webhook), "video-or-audio"))

    assert request["webhook"] == {
        "url": "https://myapp.com/hook",
        "secret": SECRET,
        "customData": {"usage_token": TOKEN},
    }

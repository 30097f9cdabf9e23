"""
Webhooks of Remotion Lambda, from raw bytes to the usage point of their render; the adapters move the bytes.

Remotion posts one when a render on Lambda has ended, as JSON with `type` ("success", "error" or "timeout"), `renderId`,
and `customData` as the app gave it (https://www.remotion.dev/docs/lambda/webhooks). Stills have none. With a secret,
`X-Remotion-Signature` is `sha512=` and the hex HMAC-SHA512 of the body as it was sent; without, it is the text
`NO_SECRET_PROVIDED`. The other headers are not signed. The sender (`invoke-webhook.js` in `@remotion/serverless`
4.0.527) waits 10 seconds for an answer and follows redirects. Without a 2xx it tries twice more, 0.5 and 1 second
later. It reports a timeout one second before its own end, so that a second try is unlikely.
"""

from __future__ import annotations

import hmac
import inspect
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypedDict, TypeGuard, cast

from ._support.log import logger
from .errors import ConfigurationError, InvalidTokenError
from .points import Event, UsagePoint, check_count, check_event, check_idempotency_key, check_origin, decode_token
from .recording import UsageRecorder
from .usage import Ending, Settlement, find_recorder

SECRET_VARIABLE: Final = "REMOTION_WEBHOOK_SECRET"  # noqa: S105 - a name, no secret
SIGNATURE_HEADER: Final = "X-Remotion-Signature"
MODE_HEADER: Final = "X-Remotion-Mode"
#: The field of `customData` that holds the token of a deferred point.
TOKEN_FIELD: Final = "usage_token"  # noqa: S105 - a name, no secret

MAX_BODY: Final = 2_621_440  # bytes, with room for many error stacks; also Django's default
#: Seconds to wait for a commit: half of the time that the sender waits; the other half is for the app.
WEBHOOK_COMMIT_WAIT: Final = 5.0

OnWebhook = Callable[[dict[str, Any]], object]

_MAX_SAID: Final = 100  # reasons in the log: the type that a webhook names is part of one
_UNSIGNED: Final = "NO_SECRET_PROVIDED"
_ENDINGS: Final[dict[object, Ending]] = {"success": "whole", "error": "failed", "timeout": "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """
    A verified webhook about the end of a render.

    Attributes:
        payload: The whole JSON object.
        ending: How the render ended.
        point: The deferred point, if the webhook has a valid token.
        key: Idempotency key for a webhook without a token, made from the render's id so that its repeats count once.
    """

    payload: dict[str, Any]
    ending: Ending
    point: UsagePoint | None
    key: str


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """
    The answer to a webhook.

    Attributes:
        error: What was wrong with the request or the recording.
        after: Called after the answer has gone out.
    """

    status: int
    error: str | None = None
    after: Callable[[], object] | None = None

    @property
    def content(self) -> dict[str, object]:
        """
        The JSON body, in the form of Remotion's own helpers for JavaScript.
        """
        return {"success": True} if self.error is None else {"success": False, "error": self.error}


class WebhookOptions(TypedDict, total=False):
    """
    Keywords of `WebhookReceiver`.
    """

    recorder: UsageRecorder | None
    event: Event
    host: str | None
    on_webhook: OnWebhook | None
    max_body: int


class WebhookReceiver:
    """
    Verifies webhooks and records the usage points of their renders.

    Args:
        secret: The secret passed to renders with their webhook; defaults to `REMOTION_WEBHOOK_SECRET`.
        recorder: Defaults to the middleware's, then to `default_recorder()`.
        event: The event of renders whose webhook has no `usage_token`.
        host: Origin of their frontend; defaults to the setting.
        on_webhook: The app's own function or coroutine function. It is called with each verified payload after the
            point is recorded, and called again for each repeat. When it raises, the app answers as to any error, and
            Remotion repeats the webhook.
        max_body: Bytes; a longer webhook is refused.

    Raises:
        ConfigurationError: An argument is unusable, or there is no secret.
    """

    def __init__(
        self,
        secret: str | None,
        *,
        recorder: UsageRecorder | None = None,
        event: Event = "cloud-render",
        host: str | None = None,
        on_webhook: OnWebhook | None = None,
        max_body: int = MAX_BODY,
    ) -> None:
        # The secret itself is not kept: error pages and trackers show attributes.
        self._mac = hmac.new(_secret_bytes(secret), digestmod="sha512")
        self._recorder = recorder
        self._event: Event = check_event(event)
        self._host = None if host is None else check_origin("host", host)
        self.on_webhook = on_webhook
        self.max_body: int = check_count("max_body", max_body)
        self._said: set[str] = set()

    def read(self, body: bytes, *, signature: str | None, mode: str | None) -> Webhook | WebhookAnswer:
        """
        Return the webhook of a request, or the answer that refuses it; *body* may be cut after `max_body + 1` bytes.
        """
        if len(body) > self.max_body:
            return self._refuse(413, f"its body has more than {self.max_body} bytes")
        if signature is None or signature == _UNSIGNED:
            return self._refuse(401, "it is unsigned; was `secret` passed to the render's webhook?")
        if not self._is_signed(body, signature):
            return self._refuse(401, "its signature is wrong")
        if mode == "demo":
            return self._ignore("it is a demo")
        return self._understand(body)

    def record(self, webhook: Webhook) -> WebhookAnswer:
        """
        Record the render's usage point and return the answer: 503 when the webhook should come again. Never raises.
        """
        settlement = self._settlement(webhook)
        committed = settlement.record(webhook.ending, wait=WEBHOOK_COMMIT_WAIT)
        return _answer(settlement.recorder, webhook, committed=committed)

    async def arecord(self, webhook: Webhook) -> WebhookAnswer:
        """
        Same as `record`, but does not block the event loop.
        """
        settlement = self._settlement(webhook)
        committed = await settlement.arecord(webhook.ending, wait=WEBHOOK_COMMIT_WAIT)
        return _answer(settlement.recorder, webhook, committed=committed)

    def _is_signed(self, body: bytes, signature: str) -> bool:
        mac = self._mac.copy()
        mac.update(body)
        # As bytes: texts that are not ASCII cannot be compared in constant time.
        return hmac.compare_digest(f"sha512={mac.hexdigest()}".encode(), signature.encode(errors="replace"))

    def _understand(self, body: bytes) -> Webhook | WebhookAnswer:
        payload = _parse(body)
        if payload is None:
            return self._refuse(400, "its body is not a JSON object")
        webhook_type = payload.get("type")
        ending = _ENDINGS.get(webhook_type) if isinstance(webhook_type, str) else None
        if ending is None:
            return self._ignore(f"its type {webhook_type!r:.80} is unknown")
        webhook = Webhook(payload=payload, ending=ending, point=_deferred_point(payload), key=_key(payload))
        if not (webhook.point or webhook.key):
            return self._refuse(400, "neither renderId nor customData says which render it is about")
        return webhook

    def _refuse(self, status: int, reason: str) -> WebhookAnswer:
        if self._is_new(reason):
            logger.warning(
                "A Remotion webhook was refused (logged once per reason): %s",
                reason,
                extra={"action": "webhook_refused"},
            )
        return WebhookAnswer(status, reason)

    def _ignore(self, reason: str) -> WebhookAnswer:
        if self._is_new(reason):
            logger.warning(
                "A Remotion webhook was ignored (logged once per reason): %s.",
                reason,
                extra={"action": "webhook_ignored"},
            )
        return WebhookAnswer(200)

    def _is_new(self, reason: str) -> bool:
        # Any client can send what is refused, and repeat a signed webhook that it has seen: neither must fill the log.
        if reason in self._said or len(self._said) == _MAX_SAID:
            return False
        self._said.add(reason)
        return True

    def _settlement(self, webhook: Webhook) -> Settlement:
        settlement = Settlement(find_recorder(self._recorder))
        settings = settlement.recorder.settings
        settlement.take_deferred(
            webhook.point
            or UsagePoint(
                event=self._event,
                host=self._host or settings.host,
                succeeded=None,
                is_production=settings.is_production,
                idempotency_key=webhook.key,
            )
        )
        return settlement


def is_asynchronous(function: OnWebhook) -> TypeGuard[Callable[[dict[str, Any]], Awaitable[object]]]:
    """
    Whether the result of *function*, which may be a partial object or an instance, must be awaited.
    """
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _secret_bytes(secret: object) -> bytes:
    if secret is None:
        secret = os.environ.get(SECRET_VARIABLE)
        if not secret:
            msg = f"secret: missing; pass one, or set {SECRET_VARIABLE}"
            raise ConfigurationError(msg)
    if not isinstance(secret, str) or not secret:
        # The message never shows the value. Arguments meant for the endpoint, such as a request, end up here, too.
        msg = f"secret: expected a non-empty string, as in remotion_webhook(secret); got {type(secret).__name__}"
        raise ConfigurationError(msg)
    return secret.encode(errors="surrogatepass")


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        return _as_object(json.loads(body))
    except (ValueError, RecursionError):
        return None


def _as_object(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _deferred_point(payload: dict[str, Any]) -> UsagePoint | None:
    token = (_as_object(payload.get("customData")) or {}).get(TOKEN_FIELD)
    try:
        return None if token is None else decode_token(token)
    except InvalidTokenError as error:
        # The render has ended anyway: its point is recorded as if there were no token.
        logger.error("A Remotion webhook: %s; ignored.", error, extra={"action": "bad_token"})
        return None


def _key(payload: dict[str, Any]) -> str:
    render_id = payload.get("renderId")
    try:
        return check_idempotency_key(f"remotion-lambda-{render_id}") if render_id and isinstance(render_id, str) else ""
    except ConfigurationError:
        return ""


def _answer(recorder: UsageRecorder, webhook: Webhook, *, committed: bool) -> WebhookAnswer:
    wanted = recorder.enabled and (webhook.ending == "whole" or recorder.settings.report_failures)
    if wanted and not committed:
        return WebhookAnswer(503, "the usage point is not recorded yet")
    return WebhookAnswer(
        200, after=recorder.deliver_inline if wanted and recorder.settings.delivery == "inline" else None
    )

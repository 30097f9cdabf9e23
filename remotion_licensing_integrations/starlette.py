"""
For Starlette apps: `Middleware(UsageMiddleware, license_key=…)` and `@usage_point("cloud-render")`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Unpack

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from .asgi import UsageMiddleware
from .usage import conversion, conversion_job, current_usage, usage_point
from .webhooks import (
    MODE_HEADER,
    SIGNATURE_HEADER,
    OnWebhook,
    Webhook,
    WebhookAnswer,
    WebhookOptions,
    WebhookReceiver,
    is_asynchronous,
)

__all__ = ["UsageMiddleware", "conversion", "conversion_job", "current_usage", "remotion_webhook", "usage_point"]


def remotion_webhook(
    secret: str | None = None, **options: Unpack[WebhookOptions]
) -> Callable[[Request], Awaitable[Response]]:
    """
    Return an endpoint that takes the webhooks of Remotion Lambda and records the usage points of their renders.

    For `Route("/webhooks/remotion", remotion_webhook(), methods=["POST"])`, or in FastAPI
    `app.post("/webhooks/remotion")(remotion_webhook())`.

    Args:
        secret: The secret passed to renders with their webhook; defaults to `REMOTION_WEBHOOK_SECRET`.
        **options: See `WebhookReceiver`.

    Raises:
        ConfigurationError: An argument is unusable, or there is no secret.
    """
    receiver = WebhookReceiver(secret, **options)

    # FastAPI passes what the annotation says.
    async def endpoint(request: Request) -> Response:
        """
        Take a webhook of Remotion Lambda.
        """
        if request.method != "POST":
            return JSONResponse({"success": False, "error": "POST only"}, 405, {"Allow": "POST"})
        try:
            body = await _read_body(request, receiver.max_body)
        except ClientDisconnect:
            return Response(status_code=400)  # which no client receives
        webhook = receiver.read(
            body, signature=request.headers.get(SIGNATURE_HEADER), mode=request.headers.get(MODE_HEADER)
        )
        if not isinstance(webhook, Webhook):
            return _respond(webhook)
        answer = await receiver.arecord(webhook)
        if receiver.on_webhook is not None:
            await _call(receiver.on_webhook, webhook)
        return _respond(answer)

    # FastAPI names the operation after the function.
    endpoint.__name__ = "remotion_webhook"
    return endpoint


async def _read_body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > limit:
                break
    return bytes(body)


async def _call(on_webhook: OnWebhook, webhook: Webhook) -> None:
    if is_asynchronous(on_webhook):
        await on_webhook(webhook.payload)
    else:
        await run_in_threadpool(on_webhook, webhook.payload)


def _respond(answer: WebhookAnswer) -> Response:
    after = None if answer.after is None else BackgroundTask(answer.after)
    return JSONResponse(answer.content, answer.status, background=after)

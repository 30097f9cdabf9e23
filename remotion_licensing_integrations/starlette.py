"""
For Starlette apps: `Middleware(UsageMiddleware, license_key=…)` and `@usage_point("cloud-render")`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, ParamSpec, TypeVar, Unpack

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ._support.lazy import load_later
from .asgi import UsageMiddleware
from .usage import conversion, conversion_job, current_usage, usage_point

if TYPE_CHECKING:
    from .usage import LimitOptions, LimitReached
    from .webhooks import WebhookAnswer, WebhookOptions
else:
    __getattr__, __dir__ = load_later(__name__, {".usage": ("LimitReached",)})

__all__ = [
    "LimitReached",
    "UsageMiddleware",
    "conversion",
    "conversion_job",
    "current_usage",
    "remotion_webhook",
    "usage_limit",
    "usage_point",
]

P = ParamSpec("P")
R = TypeVar("R")


def usage_limit(max_billable: int, **options: Unpack[LimitOptions]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """
    Refuse requests to the decorated endpoint, before it runs, once *max_billable* points are billable in a period.

    Put it above `usage_point`. The answer is 429 with `Retry-After`; a refused request records no point. It needs
    the private licence key. Without the licensing API's figure, every request passes.

    Args:
        max_billable: How many points may be billable in a period.
        **options: `per` is `"month"` (the default) or `"day"`, in UTC. `event` limits one event only. `on_limit` is
            called with a `LimitReached` instead of a refusal: when it returns true, the request passes; what it raises
            is the answer. `clock` returns the current time, in tests.

    Raises:
        ConfigurationError: An argument is unusable.
    """
    from .usage import UsageLimit  # noqa: PLC0415 - most apps have no limit

    limit = UsageLimit(max_billable, **options)
    return lambda function: limit.guard(
        function, is_async=inspect.iscoroutinefunction(function), in_thread=run_in_threadpool, answer=_too_many
    )


def _too_many(reached: LimitReached) -> Response:
    return JSONResponse(reached.problem, 429, reached.headers)


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
    from .webhooks import (  # noqa: PLC0415 - most apps have no webhook
        MODE_HEADER,
        SIGNATURE_HEADER,
        Webhook,
        WebhookReceiver,
        is_asynchronous,
    )

    receiver = WebhookReceiver(secret, **options)
    work = receiver.on_webhook

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
        if work is not None:
            await (work(webhook.payload) if is_asynchronous(work) else run_in_threadpool(work, webhook.payload))
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


def _respond(answer: WebhookAnswer) -> Response:
    after = None if answer.after is None else BackgroundTask(answer.after)
    return JSONResponse(answer.content, answer.status, background=after)

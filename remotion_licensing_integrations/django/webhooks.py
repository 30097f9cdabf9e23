"""
Views for webhooks of Remotion Lambda: `path("webhooks/remotion/", remotion_webhook())`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Unpack

from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.http.request import RawPostDataException, UnreadablePostError
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from ..webhooks import (
    MODE_HEADER,
    SIGNATURE_HEADER,
    Webhook,
    WebhookAnswer,
    WebhookOptions,
    WebhookReceiver,
    is_asynchronous,
)
from .exchange import run_after


def remotion_webhook(
    secret: str | None = None, **options: Unpack[WebhookOptions]
) -> Callable[[HttpRequest], HttpResponseBase]:
    """
    Return a view that takes the webhooks of Remotion Lambda and records the usage points of their renders.

    Args:
        secret: The secret passed to renders with their webhook; defaults to `REMOTION_WEBHOOK_SECRET`.
        **options: See `WebhookReceiver`. `DATA_UPLOAD_MAX_MEMORY_SIZE` applies, too, not only `max_body`.

    Raises:
        ConfigurationError: An argument is unusable, or there is no secret.
    """
    receiver = WebhookReceiver(secret, **options)
    work = receiver.on_webhook
    call = async_to_sync(work) if work is not None and is_asynchronous(work) else work

    @csrf_exempt
    @require_POST
    def view(request: HttpRequest) -> HttpResponseBase:
        webhook = _read(receiver, request)
        if not isinstance(webhook, Webhook):
            return _respond(webhook)
        answer = receiver.record(webhook)
        if call is not None:
            call(webhook.payload)
        return _respond(answer)

    return view


def aremotion_webhook(
    secret: str | None = None, **options: Unpack[WebhookOptions]
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """
    Same as `remotion_webhook`, but the view is asynchronous.
    """
    receiver = WebhookReceiver(secret, **options)
    work = receiver.on_webhook
    call = work if work is None or is_asynchronous(work) else sync_to_async(work)

    @csrf_exempt
    @require_POST
    async def view(request: HttpRequest) -> HttpResponseBase:
        webhook = _read(receiver, request)
        if not isinstance(webhook, Webhook):
            return _respond(webhook)
        answer = await receiver.arecord(webhook)
        if call is not None:
            await call(webhook.payload)
        return _respond(answer)

    return view


def _read(receiver: WebhookReceiver, request: HttpRequest) -> Webhook | WebhookAnswer:
    try:
        body = request.body
    except RequestDataTooBig:
        return WebhookAnswer(413, "the body is longer than DATA_UPLOAD_MAX_MEMORY_SIZE")
    except (UnreadablePostError, RawPostDataException):
        return WebhookAnswer(400, "the body cannot be read")
    return receiver.read(body, signature=request.headers.get(SIGNATURE_HEADER), mode=request.headers.get(MODE_HEADER))


def _respond(answer: WebhookAnswer) -> HttpResponseBase:
    response = JsonResponse(answer.content, status=answer.status)
    if answer.after is not None:
        run_after(response, answer.after)
    return response

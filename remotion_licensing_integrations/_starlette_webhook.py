"""
The endpoint for webhooks of Remotion Lambda, as Starlette and FastAPI call it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from .webhooks import MODE_HEADER, SIGNATURE_HEADER, Answer, OnWebhook, Webhook, WebhookReceiver, is_asynchronous


def make_endpoint(receiver: WebhookReceiver) -> Callable[[Request], Awaitable[Response]]:
    """
    Return the endpoint of *receiver*; FastAPI knows by its annotation what to pass.
    """

    async def remotion_webhook(request: Request) -> Response:
        """
        Take a webhook of Remotion Lambda.
        """
        if request.method != "POST":
            return JSONResponse({"success": False, "error": "POST only"}, 405, {"Allow": "POST"})
        try:
            body = await _read_body(request, receiver.max_body)
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody
        webhook = receiver.read(
            body, signature=request.headers.get(SIGNATURE_HEADER), mode=request.headers.get(MODE_HEADER)
        )
        if not isinstance(webhook, Webhook):
            return _respond(webhook)
        answer = await receiver.arecord(webhook)
        if receiver.on_webhook is not None:
            await _call(receiver.on_webhook, webhook)
        return _respond(answer)

    return remotion_webhook


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


def _respond(answer: Answer) -> Response:
    after = None if answer.after is None else BackgroundTask(answer.after)
    return JSONResponse(answer.content, answer.status, background=after)

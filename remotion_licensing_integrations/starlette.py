"""
For Starlette apps: `Middleware(UsageMiddleware, license_key=…)` and `@usage_point("cloud-render")`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Unpack

from .asgi import UsageMiddleware
from .usage import conversion, conversion_job, current_usage, usage_point
from .webhooks import WebhookOptions, WebhookReceiver

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["UsageMiddleware", "conversion", "conversion_job", "current_usage", "remotion_webhook", "usage_point"]


def remotion_webhook(
    secret: str | None = None, **options: Unpack[WebhookOptions]
) -> Callable[[Request], Awaitable[Response]]:
    """
    Return an endpoint that takes the webhooks of Remotion Lambda and records the usage points of their renders.

    For `Route("/webhooks/remotion", remotion_webhook(), methods=["POST"])`, or in FastAPI
    `app.post("/webhooks/remotion")(remotion_webhook())`.

    Args:
        secret: The one that renders are given with their webhook; defaults to `REMOTION_WEBHOOK_SECRET`.
        **options: See `WebhookReceiver`.

    Raises:
        ConfigurationError: An argument is unusable, or there is no secret.
        ModuleNotFoundError: Starlette is not installed.
    """
    receiver = WebhookReceiver(secret, **options)
    try:
        from ._starlette_webhook import make_endpoint  # noqa: PLC0415 - this module loads without Starlette
    except ModuleNotFoundError as problem:
        msg = 'remotion_webhook needs Starlette: pip install "remotion-licensing-integrations[starlette]"'
        raise ModuleNotFoundError(msg, name=problem.name) from problem
    return make_endpoint(receiver)

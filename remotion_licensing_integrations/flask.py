"""
For Flask apps: `RemotionLicensing(app)` and `@usage_point("cloud-render")`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, Unpack, cast

from flask import Flask, Response, current_app, jsonify, request

from ._support.lazy import load_later
from .errors import ConfigurationError
from .points import Event
from .recording import UsageRecorder
from .settings import Settings, SettingsFields, check_dict
from .usage import adopt_misplaced, conversion, conversion_job, current_usage, find_settlement, usage_point
from .wsgi import UsageMiddleware

if TYPE_CHECKING:
    from .usage import LimitOptions, LimitReached
    from .webhooks import WebhookAnswer, WebhookOptions
else:
    __getattr__ = load_later(__name__, {".usage": ("LimitReached",)})

__all__ = [
    "LimitReached",
    "RemotionLicensing",
    "conversion",
    "conversion_job",
    "current_usage",
    "remotion_webhook",
    "usage_limit",
    "usage_point",
]

P = ParamSpec("P")
R = TypeVar("R")

#: The key of `app.config`: a dict like Django's, such as `{"LICENSE_KEY": "rm_pub_…"}`.
NAME: Final = "REMOTION_LICENSING"
_EXTENSION: Final = "remotion_licensing"


class RemotionLicensing:
    """
    Records a usage point for each finished request to a decorated view.

    Settings are keywords, which win, the dict `app.config["REMOTION_LICENSING"]` with their names in upper case, and
    the environment.

    Args:
        app: The app; without one, call `init_app` later.
        settings: All settings as one object, instead of single ones.
        recorder: A recorder that the app has created.
        endpoints: Rules like `{"POST /convert": "cloud-render"}` for views that cannot be decorated.
        **fields: Single settings, see `Settings`.

    Raises:
        ConfigurationError: See `init_app`.
        TypeError: See `init_app`.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        settings: Settings | None = None,
        recorder: UsageRecorder | None = None,
        endpoints: Mapping[str, Event] | None = None,
        **fields: Unpack[SettingsFields],
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._endpoints = endpoints
        self._fields = fields
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """
        Wrap `app.wsgi_app`; call it before other middleware is put around the app, so that ours is the innermost.

        Raises:
            ConfigurationError: A setting is unusable, or the app has this extension already.
            TypeError: A keyword is not a setting, or there is more than one of settings, recorder and single settings.
        """
        if _EXTENSION in app.extensions:
            msg = f"RemotionLicensing: the app {app.name!r} has it already"
            raise ConfigurationError(msg)
        fields: Any = self._fields
        if self._settings is None and self._recorder is None:
            values = check_dict(NAME, cast("Mapping[str, Any]", app.config).get(NAME, {}))
            fields = {**{key.lower(): value for key, value in values.items()}, **fields}
        middleware = UsageMiddleware(
            app.wsgi_app, settings=self._settings, recorder=self._recorder, endpoints=self._endpoints, **fields
        )
        app.wsgi_app = middleware  # type: ignore[method-assign] # Flask's documented way
        app.extensions[_EXTENSION] = middleware.recorder

        # Flask passes the endpoint to this hook alone; a look at `request` in each request would cost more.
        @app.url_value_preprocessor
        def find_misplaced(endpoint: str | None, _: object) -> None:
            settlement = find_settlement()
            if settlement is not None and settlement.event is None and endpoint is not None:
                adopt_misplaced(settlement, app.view_functions.get(endpoint))

    @property
    def recorder(self) -> UsageRecorder:
        """
        The recorder of the current app.

        Raises:
            KeyError: The app does not have this extension.
            RuntimeError: There is no current app.
        """
        recorder: UsageRecorder = current_app.extensions[_EXTENSION]
        return recorder


def usage_limit(max_billable: int, **options: Unpack[LimitOptions]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """
    Refuse requests to the decorated view, before it runs, once *max_billable* points are billable in a period.

    Put it above `usage_point` and below the route's decorator. The answer is 429 with `Retry-After`; a refused request
    records no point. It needs the private licence key. Without the licensing API's figure, every request passes.

    Args:
        max_billable: How many points may be billable in a period.

    Raises:
        ConfigurationError: An argument is unusable.
    """
    from .usage import UsageLimit  # noqa: PLC0415 - most apps have no limit

    limit = UsageLimit(max_billable, **options)
    return lambda view: limit.guard(
        view, is_async=inspect.iscoroutinefunction(view), in_thread=asyncio.to_thread, answer=_too_many
    )


def remotion_webhook(secret: str | None = None, **options: Unpack[WebhookOptions]) -> Callable[[], Response]:
    """
    Return a view that takes the webhooks of Remotion Lambda and records the usage points of their renders.

    For `app.post("/webhooks/remotion")(remotion_webhook())`. A coroutine function as `on_webhook` needs Flask's extra
    `async`.

    Args:
        secret: The secret passed to renders with their webhook; defaults to `REMOTION_WEBHOOK_SECRET`.
        **options: See `WebhookReceiver`. Flask's `MAX_CONTENT_LENGTH` applies, too, not only `max_body`.

    Raises:
        ConfigurationError: An argument is unusable, or there is no secret.
    """
    from .webhooks import MODE_HEADER, SIGNATURE_HEADER, Webhook, WebhookReceiver  # noqa: PLC0415 - most have no webhook

    receiver = WebhookReceiver(secret, **options)

    # Flask names the endpoint after the function.
    def remotion_webhook() -> Response:
        """
        Take a webhook of Remotion Lambda.
        """
        webhook = receiver.read(
            request.stream.read(receiver.max_body + 1),
            signature=request.headers.get(SIGNATURE_HEADER),
            mode=request.headers.get(MODE_HEADER),
        )
        if not isinstance(webhook, Webhook):
            return _respond(webhook)
        answer = receiver.record(webhook)
        if receiver.on_webhook is not None:
            current_app.ensure_sync(receiver.on_webhook)(webhook.payload)
        return _respond(answer)

    return remotion_webhook


def _respond(answer: WebhookAnswer) -> Response:
    response = jsonify(answer.content)
    response.status_code = answer.status
    if answer.after is not None:
        response.call_on_close(answer.after)
    return response


def _too_many(reached: LimitReached) -> Response:
    return Response(current_app.json.dumps(reached.problem), 429, reached.headers)

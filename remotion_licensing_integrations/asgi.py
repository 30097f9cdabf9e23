"""
Pure ASGI middleware: commits the usage point of a response before the last byte goes out.

It imports no framework, never touches `receive`, and forwards every message unchanged.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, Unpack

from ._support.log import logger
from .errors import ConfigurationError
from .points import Event, OriginHeaders, ResolvedHost, own_origin
from .recording import UsageRecorder, make_recorder, null_recorder, offer_default_recorder
from .settings import Settings, SettingsFields
from .usage import CURRENT, EndpointRules, Settlement, adopt_misplaced, body_length, log_crash, marked_options

__all__ = ["UsageMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: Starlette, Litestar and Quart each have types of their own for the three, which do not fit each other.
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

# A second middleware of ours, on a mounted app for instance, leaves the request to the first.
_SCOPE_KEY: Final = "remotion_licensing_integrations.usage"

# Messages that carry a part of the body; the second one from servers that send files by themselves.
_BODY: Final = frozenset({"http.response.body", "http.response.zerocopysend"})


class UsageMiddleware:
    """
    Records a usage point for each finished request to a decorated endpoint.

    Place it innermost: last in a `middleware=[…]` list, first of several `add_middleware` calls. Without further
    arguments the settings come from the environment.

    Args:
        app: The ASGI application.
        settings: All settings as one object, instead of single ones.
        recorder: A recorder that the app has created, for instance to complete deferred points.
        endpoints: Rules like `{"POST /convert": "cloud-render"}` for endpoints that cannot be decorated.
        **fields: Single settings, see `Settings`.

    Attributes:
        recorder: The recorder; one that keeps nothing when there is a mistake.
        rules: The rules of *endpoints*.
        mistake: What is wrong with the arguments; `None` when nothing is.

    A keyword that is no setting, or a value that is unusable, stops the server: it is the answer to the lifespan. Under
    a server without lifespan the app runs, nothing is recorded, and the log says so once.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings | None = None,
        recorder: UsageRecorder | None = None,
        endpoints: Mapping[str, Event] | None = None,
        **fields: Unpack[SettingsFields],
    ) -> None:
        self.app = app
        self.rules: EndpointRules = EndpointRules({})
        self.mistake: Exception | None = None
        self._is_mistake_logged = False
        try:
            self.rules = EndpointRules(endpoints or {})
            self.recorder: UsageRecorder = make_recorder(settings, recorder, fields)
        except (ConfigurationError, TypeError) as error:
            # Not raised: frameworks make their middleware when the server asks for the lifespan, and uvicorn takes an
            # error there for a missing lifespan, starts, and answers every request with 500
            # (tests/processes/test_mistakes.py).
            self.mistake, self.recorder = error, null_recorder()
        else:
            # For threads and jobs of this process, which see no request.
            offer_default_recorder(self.recorder)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """
        Serve one connection.
        """
        if scope["type"] != "http" or _SCOPE_KEY in scope or self.mistake is not None:
            await self._pass_on(scope, receive, send)
            return
        # Not in a method of its own: every request, also one that does not count, would pay for a second coroutine.
        exchange = _Exchange(self.recorder, scope, send)
        scope[_SCOPE_KEY] = exchange
        if self.rules.events:
            self._match_rules(exchange, scope)
        token = CURRENT.set(exchange)
        gone = True
        try:
            await self.app(scope, receive, exchange.forward)
        except BaseException as error:
            gone = _says_gone(error)
            raise
        finally:
            CURRENT.reset(token)
            scope.pop(_SCOPE_KEY, None)  # a scope that holds itself would wait for the garbage collector
            if exchange.may_count or not exchange.settled:
                await exchange.finish(gone=gone)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.mistake is not None:
            await self._report(self.mistake, scope, receive, send)
        elif scope["type"] == "http":
            self._match_rules(scope[_SCOPE_KEY], scope)
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, self._lifespan_send(send))
        else:
            await self.app(scope, receive, send)

    async def _report(self, mistake: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.failed", "message": f"UsageMiddleware: {mistake}"})
            raise mistake  # as frameworks do, for their test clients; servers have heard enough
        if not self._is_mistake_logged:
            self._is_mistake_logged = True
            logger.error("No usage point is recorded. UsageMiddleware: %s", mistake, extra={"action": "bad_settings"})
        await self.app(scope, receive, send)

    def _lifespan_send(self, send: Send) -> Send:
        async def send_lifespan(message: Message) -> None:
            try:
                if message["type"] == "lifespan.startup.complete":
                    self._warn_of_misplaced()
                    await asyncio.to_thread(self.recorder.start)
                elif message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
                    await asyncio.to_thread(self.recorder.stop)
            except Exception:  # noqa: BLE001 - the app must start and stop anyway
                log_crash()
            await send(message)

        return send_lifespan

    def _warn_of_misplaced(self) -> None:
        # Quart's scope does not name the view, so what a request would show has to be found here
        # (tests/test_quart.py::test_decorator_above_the_route).
        views: Mapping[str, object] = getattr(getattr(self.app, "__self__", None), "view_functions", {})
        for view in filter(marked_options, views.values()):
            self.recorder.warn_once(
                f"decorator_misplaced {view!r}",
                f"@usage_point is above the route decorator of {view!r}, so it does not count. Put it directly on the "
                "function, below the route decorator.",
            )

    def _match_rules(self, exchange: Settlement, scope: Scope) -> None:
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        options = self.rules.match(scope["method"], path, path.removeprefix(root))
        if options is not None:
            exchange.apply(options)


class _Exchange(Settlement):
    """
    One response on its way out; the decorator, which finds it by `CURRENT`, gives it its event.
    """

    _status = 0
    _left = math.inf  # bytes of the body that the client still waits for
    _sent = False  # whether a recorded point's response has gone out whole

    def __init__(self, recorder: UsageRecorder, scope: Scope, send: Send) -> None:
        self.recorder = recorder
        self.method = scope["method"]
        self._scope = scope
        self._send = send

    def find_host(self) -> ResolvedHost:
        """
        Return the page's origin from the request's headers.
        """
        headers = OriginHeaders.from_asgi(self._scope["headers"])
        # The server has put the trusted proxy's scheme into the scope; any client can send X-Forwarded headers.
        scheme = self._scope.get("scheme", "http")
        return self.choose_host(headers, lambda: own_origin(scheme, headers.host))

    # Not `async`: on routes that do not count, a message costs a check and no coroutine.
    def forward(self, message: Message) -> Awaitable[None]:
        """
        Forward *message*; commit the usage point of a counted request before its last message.
        """
        if self.event is None and message.get("more_body", False):
            return self._send(message)
        if not self.settled and self._is_last(message):
            return self._send_last(message)
        return self._send(message) if self.event is None else self._send_noting_loss(message)

    async def finish(self, *, gone: bool) -> None:
        """
        Settle a response that had no last message, because the client has *gone* or the app failed; deliver inline.
        """
        if not self.settled:
            self._find_misplaced()
            # Quart lets go of a synchronous view when the client leaves; it goes on in its thread, and settles there
            # (tests/test_quart.py::test_client_leaves_threaded_view).
            self.abandoned = True
            if not self.running:
                await self.arecord("aborted" if gone or self.aborted else "failed", self._status)
        # Not in `send`: there, Starlette cancels a stream that uvicorn reports as disconnected after its last byte.
        # And not earlier: the server sends the 500 of an unhandled error after this middleware.
        if (self._sent or self.recorded_within) and self.recorder.settings.delivery == "inline":
            await self.recorder.adeliver_inline()

    def _is_last(self, message: Message) -> bool:
        name = message["type"]
        if name in _BODY:
            self._left -= len(message.get("body", b"")) if name == "http.response.body" else message.get("count", 0)
            # A client that has all the bytes it was promised does not wait for the last message.
            return not message.get("more_body", False) or self._left <= 0
        if name == "http.response.start":
            self._status = message["status"]
            if self.event is not None:
                self._left = body_length(self._status, message.get("headers", ()), b"content-length")
            return self._left <= 0
        return bool(name == "http.response.pathsend")

    def _send_last(self, message: Message) -> Awaitable[None]:
        self._find_misplaced()
        if not self.may_count:
            self.settled = True
            return self._send(message)
        # Starlette's BaseHTTPMiddleware ends the response of a stream that was cut off as if it were whole.
        self.aborted |= self.streaming and self._left > 0
        return self._record_and_send(message)

    async def _record_and_send(self, message: Message) -> None:
        await self.arecord("whole", self._status)
        await self._send(message)
        self._sent = True

    async def _send_noting_loss(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            # Servers of ASGI 2.4 raise it when the client has gone.
            self.aborted = True
            raise

    def _find_misplaced(self) -> None:
        if self.event is None:
            adopt_misplaced(self, self._scope.get("endpoint"))


def _says_gone(error: BaseException) -> bool:
    # Starlette's error for a client that left during its upload, by name because no framework is imported here.
    return isinstance(error, asyncio.CancelledError) or type(error).__name__ == "ClientDisconnect"

"""
The dashboard as an ASGI app: its routes, who may use them, and what browsers may do with its pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ConfigurationError, OutboxError
from ..points import check_count, utc_now
from ..recording import UsageRecorder, default_recorder
from . import changes
from .overview import Observer
from .rendering import Pages, read_static
from .search import Search, csv_lines, find

Authorize = Callable[[Request], bool | Response | Awaitable[bool | Response]]

MAX_FORM: Final = 65_536  # bytes

# No referrer policy is stricter: with `no-referrer`, browsers send `Origin: null` from the page's own forms.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; trusted-types usage; "
        "require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def usage_dashboard(
    recorder: UsageRecorder | None = None,
    *,
    authorize: Authorize | None = None,
    max_billable: int | None = None,
    debug: bool = False,
) -> ASGIApp:
    """
    Return an ASGI app that shows the usage points of *recorder*.

    For Starlette and FastAPI: `app.mount("/usage", usage_dashboard(recorder, authorize=is_operator))`.

    Args:
        recorder: Defaults to `default_recorder()`, which in most apps is the middleware's.
        authorize: Called with each request, in a thread unless it is asynchronous. `True` lets it pass, a response
            answers it (a redirect to a login page, for example), and everything else refuses it.
        max_billable: A month's limit of billable points, which the page shows.
        debug: Whether everybody may see and change everything when there is no *authorize*.

    Raises:
        ConfigurationError: *authorize* is missing, or *max_billable* is not a whole number from 1.
    """
    if authorize is None and not debug:
        msg = "usage_dashboard: authorize is missing; pass a function of the request, or debug=True in development"
        raise ConfigurationError(msg)
    if max_billable is not None:
        check_count("max_billable", max_billable)
    dashboard = _Dashboard(recorder, max_billable)
    guard = Middleware(_Guard, authorize=authorize)
    return Starlette(routes=dashboard.routes(), middleware=[guard], exception_handlers={OutboxError: _explain})


class _Guard:
    """
    Asks who may pass before anything else runs, and adds `HEADERS` to each response.
    """

    def __init__(self, app: ASGIApp, authorize: Authorize | None) -> None:
        self._app = app
        self._authorize = authorize

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = await self._answer(Request(scope, receive))
        if answer is None:
            await self._app(scope, receive, send_guarded)
        else:
            await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        if self._authorize is None:
            return None
        if iscoroutinefunction(self._authorize) or iscoroutinefunction(type(self._authorize).__call__):
            allowed: Any = self._authorize(request)
        else:
            allowed = await run_in_threadpool(self._authorize, request)
        if isawaitable(allowed):
            allowed = await allowed
        if isinstance(allowed, Response):
            return allowed
        # Not "truthy": a mistake must not open the page.
        return None if allowed is True else PlainTextResponse("You may not see this page.\n", 403, HEADERS)


class _Dashboard:
    """
    The endpoints; all that blocks runs in threads.
    """

    def __init__(self, recorder: UsageRecorder | None, max_billable: int | None) -> None:
        self._given = recorder
        self._max_billable = max_billable
        self._found: tuple[UsageRecorder, Observer] | None = None
        self._pages = Pages()

    def routes(self) -> list[Route]:
        """
        Return the routes.
        """
        return [
            Route("/", self._show, name="page"),
            Route("/live", self._tell),
            Route("/points.csv", self._export),
            Route("/retry", self._retry, methods=["POST"]),
            Route("/complete", self._complete, methods=["POST"]),
            Route("/{name:path}", self._send_static),
        ]

    def _recorder(self) -> tuple[UsageRecorder, Observer]:
        recorder = self._given or default_recorder()
        if self._found is None or self._found[0] is not recorder:
            self._found = recorder, Observer(recorder, self._max_billable)
        return self._found

    def _content(self, request: Request, token: str) -> dict[str, Any]:
        recorder, observer = self._recorder()
        search = Search.read(request.query_params)
        done = request.query_params.get("done", "")
        return {
            "overview": observer.observe(again=bool(done)),
            "search": search,
            "found": find(recorder.outbox, search),
            "token": token,
            "done": done,
            "number": request.query_params.get("number", ""),
        }

    async def _show(self, request: Request) -> Response:
        token = changes.token_of(request)
        response = Response(await run_in_threadpool(self._render, request, token), media_type="text/html")
        changes.give_token(request, response, token)
        return response

    def _render(self, request: Request, token: str) -> str:
        return self._pages.whole(self._content(request, token))

    async def _tell(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._render_parts, request))

    def _render_parts(self, request: Request) -> Mapping[str, str]:
        return self._pages.parts(self._content(request, changes.token_of(request)))

    async def _export(self, request: Request) -> Response:
        search = Search.read(request.query_params)
        recorder, _ = self._recorder()
        disposition = f'attachment; filename="usage-points-{utc_now():%Y-%m-%d}.csv"'
        return StreamingResponse(
            csv_lines(recorder.outbox, search), media_type="text/csv", headers={"Content-Disposition": disposition}
        )

    async def _send_static(self, request: Request) -> Response:
        found = read_static(request.path_params["name"])
        return PlainTextResponse("Not found\n", 404) if found is None else Response(found[0], media_type=found[1])

    async def _retry(self, request: Request) -> Response:
        return await self._change(request, lambda form: self._retry_keys(form.get("key")))

    def _retry_keys(self, key: str | None) -> tuple[str, int]:
        return "retried", changes.retry(self._recorder()[0].outbox, None if key is None else [key])

    async def _complete(self, request: Request) -> Response:
        return await self._change(request, self._complete_key)

    def _complete_key(self, form: Mapping[str, str]) -> tuple[str, int]:
        outcome = form.get("outcome", "")
        if outcome not in changes.OUTCOMES:
            return "completed", 0
        return "completed", changes.complete(self._recorder()[0].outbox, form.get("key", ""), outcome)

    async def _change(self, request: Request, change: Callable[[Mapping[str, str]], tuple[str, int]]) -> Response:
        form = await _read_form(request)
        if form is None:
            return PlainTextResponse("The form is too large.\n", 413)
        if not changes.is_own(request, form):
            return PlainTextResponse(
                "Nothing was changed: this form is not from the page itself. Open the page again, and retry.\n", 403
            )
        done, number = await run_in_threadpool(change, form)
        search = Search.read(dict(parse_qsl(form.get("back", "").removeprefix("?"))))
        # Relative, because only the browser knows the page's whole address; 303, so that a reload changes nothing.
        return RedirectResponse(f"./{search.query(done=done, number=number)}", 303)


async def _read_form(request: Request) -> Mapping[str, str] | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            return None
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


async def _explain(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"The usage points cannot be shown now. {error}\n", 503)

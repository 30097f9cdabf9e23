"""
A Django project with one middleware or none, in a process of its own, because some of them patch the whole process.

Run by `django.py`. For each line `PATH BLOCKS` on its input it answers what a request took, and when the input ends,
how many conversions it has answered and how many of them are recorded.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import django
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path as route

from .variants import Count, View

BLOCK = 20  # requests
BODY = b'{"url": "https://example.com/in.mov"}'
OURS = "remotion_licensing_integrations.django.middleware.UsageMiddleware"
DURABLE = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"


@dataclass(frozen=True)
class Variant:
    """
    How a project differs from a bare one.

    Attributes:
        module: Of `variants`.
        options: Of its `add`.
        middleware: The only one.
        on_connect: SQL that opens each connection to the database.
    """

    module: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    middleware: str | None = None
    on_connect: str = ""


VARIANTS = {
    "bare": Variant(),
    "bare again": Variant(),
    "no-op": Variant(middleware=f"{__package__}.django_project.NoOp"),
    "ours": Variant("ours", middleware=OURS, on_connect=DURABLE),
    "ours, Django's SQLite": Variant("ours", middleware=OURS),
    "create()": Variant("create", on_connect=DURABLE),
    "create() again": Variant("create", on_connect=DURABLE),
    "create(), Django's SQLite": Variant("create"),
    "OpenTelemetry": Variant("opentelemetry"),
    "Sentry, no traces": Variant("sentry", {"sample_rate": 0.0}),
    "Sentry, all traces": Variant("sentry", {"sample_rate": 1.0}),
}


class NoOp:
    """
    A middleware that does nothing.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """
        Serve one request.
        """
        return self.get_response(request)


def view(_: HttpRequest) -> JsonResponse:
    """
    A synchronous view.
    """
    return JsonResponse({"ok": True})


async def aview(_: HttpRequest) -> JsonResponse:
    """
    An asynchronous view.
    """
    return JsonResponse({"ok": True})


def make_app(handler: str, name: str, folder: Path) -> tuple[Any, Count | None]:
    """
    Return the application of a variant, and what counts its recorded conversions.
    """
    variant = VARIANTS[name]
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / f"{handler} {name}.sqlite3"}
    settings.configure(
        ALLOWED_HOSTS=["myapp.com"],
        INSTALLED_APPS=["remotion_licensing_integrations.django"],
        MIDDLEWARE=[variant.middleware] if variant.middleware else [],
        # Connections stay, or each request of a view with a database would open one.
        DATABASES={"default": {**database, "CONN_MAX_AGE": None, "OPTIONS": {"init_command": variant.on_connect}}},
        USE_TZ=True,
        REMOTION_LICENSING={"LICENSE_KEY": "rm_pub_bench", "DELIVERY": "off"},
    )
    django.setup()
    other = aview if handler == "ASGI" else view
    convert, count = other, None
    if variant.module is not None:
        convert, count = import_module(f"{__package__}.variants.{variant.module}").add(other, **variant.options)
    settings.ROOT_URLCONF = (route("other", other), route("convert", convert))
    return (ASGIHandler if handler == "ASGI" else WSGIHandler)(), count


def serve_wsgi(app: Any, path: str) -> None:
    """
    Serve a block of requests, one at a time.
    """
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/{path}",
        "SERVER_NAME": "myapp.com",
        "SERVER_PORT": "443",
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "myapp.com",
        "HTTP_ORIGIN": "https://myapp.com",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(BODY)),
    }

    def start_response(status: str, *_: Any) -> None:
        if status != "200 OK":
            raise RuntimeError(status)

    for _ in range(BLOCK):
        response = app({**environ, "wsgi.input": BytesIO(BODY)}, start_response)
        b"".join(response)
        response.close()


async def serve_asgi(app: Any, path: str) -> None:
    """
    Same as `serve_wsgi`, but for an ASGI app.
    """
    headers = [
        (b"host", b"myapp.com"),
        (b"origin", b"https://myapp.com"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(BODY)).encode()),
    ]
    scope = {"type": "http", "method": "POST", "path": f"/{path}", "scheme": "https", "headers": headers}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:  # noqa: PLR2004 - OK
            raise RuntimeError(message)

    for _ in range(BLOCK):
        parts = iter([{"type": "http.request", "body": BODY}])

        async def receive(parts: Any = parts) -> Any:
            with suppress(StopIteration):
                return next(parts)
            return await asyncio.Future()

        await app({**scope, "query_string": b""}, receive, send)


def timed(serve: Callable[[], None]) -> tuple[float, float]:
    """
    Return the microseconds that a request of one block takes, and those of CPU, of all threads.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    serve()
    return (time.perf_counter() - wall) / BLOCK * 1e6, (time.process_time() - cpu) / BLOCK * 1e6


def main() -> None:
    """
    Serve what the input says.
    """
    handler, name, folder = sys.argv[1:]
    app, count = make_app(handler, name, Path(folder))
    conversions = 0
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            path, blocks = line.split()
            gc.collect()

            def serve(path: str = path) -> None:
                if handler == "ASGI":
                    runner.run(serve_asgi(app, path))
                else:
                    serve_wsgi(app, path)

            times = [timed(serve) for _ in range(int(blocks))]
            conversions += len(times) * BLOCK if path == "convert" else 0
            # Of the blocks, the median: what else the machine does disturbs some of them.
            wall, cpu = map(statistics.median, zip(*times, strict=True))
            print(json.dumps({"wall": wall, "cpu": cpu}), flush=True)
    print(json.dumps({"answered": conversions, "recorded": count() if count else None}), flush=True)


if __name__ == "__main__":
    main()

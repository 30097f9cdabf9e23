"""
How apps install the middleware and the endpoint for webhooks, for mypy --strict and pyright; never run.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, assert_type

import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route

import remotion_licensing_integrations.asgi
import remotion_licensing_integrations.fastapi
from remotion_licensing_integrations import Settings, UsageRecorder
from remotion_licensing_integrations.starlette import UsageMiddleware, remotion_webhook

starlette = Starlette(
    middleware=[
        Middleware(UsageMiddleware),
        Middleware(UsageMiddleware, license_key="rm_pub_4bZ0kQ", allowed_hosts=["https://myapp.com"]),
        Middleware(UsageMiddleware, license_key=None, delivery="inline", timeout=5, report_aborted=True),
        Middleware(UsageMiddleware, settings=Settings(), endpoints={"POST /convert": "cloud-render"}),
        Middleware(UsageMiddleware, recorder=UsageRecorder()),
        Middleware(UsageMiddleware, licence_key="rm_pub_4bZ0kQ"),  # type: ignore[call-arg]
        Middleware(UsageMiddleware, timeout="5"),  # type: ignore[arg-type]
        Middleware(UsageMiddleware, delivery="thread"),  # type: ignore[arg-type]
    ],
    routes=[Mount("/", routes=list[Route](), middleware=[Middleware(UsageMiddleware)])],
)
starlette.add_middleware(UsageMiddleware, host="https://myapp.com")
starlette.add_middleware(UsageMiddleware, hosts="https://myapp.com")  # type: ignore[call-arg]

fastapi = FastAPI(middleware=[Middleware(remotion_licensing_integrations.fastapi.UsageMiddleware)])
fastapi.add_middleware(remotion_licensing_integrations.fastapi.UsageMiddleware, license_key="rm_pub_4bZ0kQ")
fastapi.add_middleware(
    remotion_licensing_integrations.fastapi.UsageMiddleware,
    endpoint={"POST /convert": "cloud-render"},  # type: ignore[call-arg]
)


def save(payload: dict[str, Any]) -> None:
    assert_type(payload, dict[str, Any])


async def save_async(payload: dict[str, Any]) -> None:
    assert_type(payload, dict[str, Any])


Route("/webhooks/remotion", remotion_webhook(), methods=["POST"])
Route("/webhooks/remotion", remotion_webhook("secret", on_webhook=save, host="https://myapp.com"))
fastapi.post("/webhooks/remotion")(remotion_webhook("secret", on_webhook=save_async, recorder=UsageRecorder()))
fastapi.add_api_route("/webhooks/remotion", remotion_webhook("secret"), methods=["POST"])
remotion_webhook(b"secret")  # type: ignore[arg-type]
remotion_webhook("secret", events="web-render")  # type: ignore[call-arg]
remotion_webhook("secret", on_webhook=save())  # type: ignore[call-arg, func-returns-value]

uvicorn.run(UsageMiddleware(starlette))
uvicorn.run(remotion_licensing_integrations.asgi.UsageMiddleware(fastapi, outbox="memory://"))
UsageMiddleware(starlette, Settings())  # type: ignore[call-arg]

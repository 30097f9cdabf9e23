"""
The app that the servers of these tests run: it converts nothing, and says which usage point each request has.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder, current_usage
from remotion_licensing_integrations.outbox import SQLiteOutbox, open_outbox
from remotion_licensing_integrations.recording import recorder
from remotion_licensing_integrations.starlette import UsageMiddleware, usage_point

if TYPE_CHECKING:
    from starlette.requests import Request


def make_recorder() -> UsageRecorder:
    """
    Build the recorder, for a server of a later hour when the environment says so.
    """
    settings = Settings.from_env()
    hours = float(os.environ.get("HOURS_LATER", "0"))
    if not hours:
        return UsageRecorder(settings, outbox=open_outbox(settings.outbox))
    path = settings.outbox.removeprefix("sqlite:///")
    return UsageRecorder(settings, outbox=SQLiteOutbox(path, clock=lambda: time.time() + 3600 * hours))


def thread_names() -> list[str]:
    """
    Name the threads of this process.
    """
    return sorted(thread.name for thread in threading.enumerate())


def identify() -> dict[str, object]:
    """
    Name the request's usage point and the process that has it.
    """
    return {"idempotency_key": current_usage().idempotency_key, "pid": os.getpid()}


@usage_point("cloud-render")
async def convert(request: Request) -> Response:
    return JSONResponse(identify())


@usage_point("cloud-render")
async def convert_without_body(request: Request) -> Response:
    return Response(status_code=204, headers={"idempotency-key": current_usage().idempotency_key})


@usage_point("cloud-render")
async def convert_to_known_length(request: Request) -> Response:
    headers = {"idempotency-key": current_usage().idempotency_key, "content-length": "4"}
    return StreamingResponse(iter([b"vi", b"de"]), headers=headers)


@usage_point("cloud-render")
async def convert_until_told(request: Request) -> Response:
    folder = Path(request.query_params["folder"])
    (folder / "converting").touch()
    while not (folder / "enough").exists():  # noqa: ASYNC110 - the one who says so is another process
        await asyncio.sleep(0.02)
    return JSONResponse(identify())


async def block(request: Request) -> Response:
    time.sleep(60)  # noqa: ASYNC251 - on purpose: as far as its server can tell, this worker is stuck
    return Response()


async def health(request: Request) -> Response:
    return JSONResponse({"pid": os.getpid(), "threads": thread_names(), "threads_at_import": threads_at_import})


if wait := os.environ.get("COMMIT_WAIT"):
    recorder.COMMIT_WAIT = float(wait)
usage_recorder = make_recorder()
app = Starlette(
    routes=[
        Route("/convert", convert, methods=["POST"]),
        Route("/convert-without-body", convert_without_body, methods=["POST"]),
        Route("/convert-to-known-length", convert_to_known_length, methods=["POST"]),
        Route("/convert-until-told", convert_until_told, methods=["POST"]),
        Route("/block", block, methods=["POST"]),
        Route("/health", health),
    ],
    middleware=[Middleware(UsageMiddleware, recorder=usage_recorder)],
)

if key := os.environ.get("RECORD_AT_IMPORT"):
    usage_recorder.record(UsagePoint(event="cloud-render", host=None, succeeded=True, idempotency_key=key))

threads_at_import = thread_names()

"""
What a usage limit leaves of a function's type, for mypy --strict and pyright; never run.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from remotion_licensing_integrations import fastapi, starlette
from remotion_licensing_integrations.starlette import LimitReached

app = FastAPI()


def let_pass(reached: LimitReached) -> bool:
    return reached.retry_after < 60 or reached.per == "day"


@starlette.usage_limit(max_billable=10, per="day", event="cloud-render", on_limit=let_pass)
async def convert(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


async def call(request: Request) -> None:
    assert_type(await convert(request), PlainTextResponse)


Depends(fastapi.usage_limit(10, per="month"))
starlette.usage_limit(10, per="week")  # type: ignore[arg-type]
starlette.usage_limit(10, bonus=5)  # type: ignore[call-arg]

"""
The app of these tests whose middleware has a misspelt keyword.
"""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from remotion_licensing_integrations.starlette import UsageMiddleware


async def answer(_: object) -> PlainTextResponse:
    return PlainTextResponse("answered")


KEYWORDS = {"lisence_key": "rm_pub_0"} if "MISSPELT" in os.environ else {}
app = Starlette(
    routes=[Route("/convert", answer, methods=["GET", "POST"])], middleware=[Middleware(UsageMiddleware, **KEYWORDS)]
)

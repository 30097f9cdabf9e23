"""
The app of the tests of usage limits: it converts at most ten times a month, by a clock that the test sets.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from fastapi import Depends, FastAPI

from remotion_licensing_integrations.fastapi import UsageMiddleware, usage_limit, usage_point


def read_clock() -> datetime:
    """
    Return the current time, some days later when a file says so.
    """
    return datetime.fromisoformat(Path(os.environ["CLOCK"]).read_text()).astimezone(UTC)


app = FastAPI()
app.add_middleware(UsageMiddleware)


@app.post("/convert", dependencies=[Depends(usage_limit(max_billable=10, event="cloud-render", clock=read_clock))])
@usage_point("cloud-render")
async def convert() -> dict[str, bool]:
    return {"converted": True}


@app.get("/health")
async def health() -> dict[str, bool]:
    return {"healthy": True}

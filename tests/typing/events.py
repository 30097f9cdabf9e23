"""
That an event is one of three words, and how a variable of an app holds one, for mypy --strict and pyright; never run.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from starlette.applications import Starlette

from remotion_licensing_integrations import (
    Event,
    LicensingClient,
    UsagePoint,
    aregister_usage_event,
    conversion,
    conversion_job,
    current_usage,
    register_usage_event,
    usage_point,
)
from remotion_licensing_integrations.asgi import UsageMiddleware
from remotion_licensing_integrations.starlette import remotion_webhook, usage_limit

app = Starlette()
RULES: dict[str, Event] = {"POST /convert": "cloud-render", "POST /videos/{id}/still": "web-render"}
UNTYPED_RULES = {"POST /convert": "cloud-render"}
UsageMiddleware(app, endpoints=RULES)
UsageMiddleware(app, endpoints={"POST /convert": "webcodec-conversion"})
UsageMiddleware(app, endpoints={"POST /convert": "cloud"})  # type: ignore[dict-item]
UsageMiddleware(app, endpoints=UNTYPED_RULES)  # type: ignore[arg-type]


def choose(event: Event) -> None:
    usage_point(event)
    conversion_job(event)
    conversion(event)
    usage_limit(10, event=event)
    remotion_webhook(event=event)
    register_usage_event(event=event, host=None, succeeded=True)
    LicensingClient().register_usage_point(event=event, host=None, succeeded=True)
    assert_type(UsagePoint(event=event, host=None, succeeded=True).event, Event)
    assert_type(current_usage().event, Event | None)
    current_usage().event = event


def choose_any_text(event: str) -> None:
    usage_point(event)  # type: ignore[arg-type]
    conversion_job(event)  # type: ignore[arg-type]
    conversion(event)  # type: ignore[arg-type]
    usage_limit(10, event=event)  # type: ignore[arg-type]
    remotion_webhook(event=event)  # type: ignore[arg-type]
    register_usage_event(event=event, host=None, succeeded=True)  # type: ignore[arg-type]
    LicensingClient().register_usage_point(event=event, host=None, succeeded=True)  # type: ignore[arg-type]
    UsagePoint(event=event, host=None, succeeded=True)  # type: ignore[arg-type]
    current_usage().event = event  # type: ignore[assignment]


choose("cloud-render")
choose("cloud_render")  # type: ignore[arg-type]
usage_point("render")  # type: ignore[arg-type]
conversion("Cloud-Render")  # type: ignore[arg-type]


async def run() -> None:
    await aregister_usage_event(event="web-render", host=None, succeeded=True)
    await aregister_usage_event(event="web", host=None, succeeded=True)  # type: ignore[arg-type]

"""
What the job decorator leaves of a function's type, and what a block gives, for mypy --strict and pyright; never run.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from remotion_licensing_integrations import (
    PendingUsage,
    UsageRecorder,
    conversion,
    conversion_job,
    current_usage,
    default_recorder,
)


@conversion_job("cloud-render")
def render(url: str) -> int:
    return len(url)


@conversion_job("cloud-render", host="https://myapp.com", recorder=UsageRecorder())
async def render_async(url: str) -> int:
    return len(url)


assert_type(render("video.mp4", usage_token=current_usage().defer()), int)
assert_type(default_recorder(), UsageRecorder)
conversion_job(render)  # type: ignore[arg-type]
conversion_job("cloud-render", "https://myapp.com")  # type: ignore[call-arg]

with conversion("cloud-render", host="https://myapp.com") as usage:
    assert_type(usage, PendingUsage)


async def run() -> None:
    assert_type(await render_async("video.mp4", usage_host="https://myapp.com"), int)
    async with conversion("cloud-render") as usage:
        assert_type(usage, PendingUsage)

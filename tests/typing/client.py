"""
What the direct calls take, for mypy --strict and pyright; never run.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from remotion_licensing_integrations import (
    AsyncLicensingClient,
    LicensingClient,
    Registration,
    Usage,
    aget_usage,
    aregister_usage_event,
    get_usage,
    register_usage_event,
    register_usage_point,
)

client = LicensingClient("rm_pub_4bZ0kQ", timeout=5)
assert_type(client.register_usage_event(event="cloud-render", host=None, succeeded=True), Registration)
client.register_usage_event(event="cloud-render", host=None)  # type: ignore[call-arg]
client.register_usage_event(event="cloud-render", hots=None, succeeded=True)  # type: ignore[call-arg]

assert_type(register_usage_event(event="cloud-render", host=None, succeeded=True), Registration)
assert_type(get_usage(license_key="rm_sec_9XyZ7w", since=1_760_000_000_000, timeout=5), Usage)
register_usage_point(event="cloud-render", host=None, succeeded=True, is_still=True, base_url="http://localhost:9000")
register_usage_event(event="cloud-render", host=None)  # type: ignore[call-arg]
register_usage_event(event="cloud-render", hots=None, succeeded=True)  # type: ignore[call-arg]
register_usage_event(event="cloud-render", host=None, succeeded="yes")  # type: ignore[arg-type]
register_usage_event(event="cloud-render", host=None, succeeded=True, base_uri="http://a")  # type: ignore[call-arg]
register_usage_event("cloud-render", host=None, succeeded=True)  # type: ignore[call-arg]
get_usage(event="cloud-render")  # type: ignore[call-arg]


async def run() -> None:
    async with AsyncLicensingClient() as client:
        point = await client.register_usage_event(event="cloud-render", host=None, succeeded=True)
        assert_type(point, Registration)
        await client.register_usage_event(event="cloud-render", host=None)  # type: ignore[call-arg]
        await client.register_usage_point(event="cloud-render", host=None, succeed=True)  # type: ignore[call-arg]
        await client.get_usage(base_url="http://a")  # type: ignore[call-arg]
    assert_type(await aregister_usage_event(event="cloud-render", host=None, succeeded=True), Registration)
    assert_type(await aget_usage(max_attempts=1), Usage)
    await aregister_usage_event(event="cloud-render", host=None, success=True)  # type: ignore[call-arg]

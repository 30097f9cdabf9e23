"""
Looks at the settings: keys, hosts, and variables that are none.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...outbox import Finding
from ...points import is_local
from ...recording import UsageRecorder
from ...settings import FREE_LICENSE, LicenseKeys, find_unknown_variables


def examine_settings(recorder: UsageRecorder) -> Iterable[Finding]:
    """
    Look at what is set.
    """
    yield _examine_key(recorder.keys)
    yield from _examine_hosts(recorder)
    if recorder.settings.delivery == "off":
        yield Finding("warning", "delivery_off", 'delivery is "off": points are recorded and never sent.')
    for text in find_unknown_variables().values():
        yield Finding("warning", "unknown_variable", text)


def _examine_key(keys: LicenseKeys) -> Finding:
    key = keys.current
    if key is None:
        return Finding(
            "error",
            "license_key_missing",
            "No licence key: set REMOTION_LICENSE_KEY or REMOTION_PRIVATE_LICENSE_KEY. Nothing is recorded without it. "
            "If the app has one in its environment, run this command there.",
        )
    if keys.is_private:
        return Finding(
            "ok", "license_key_private", "Only the private licence key is set; points are registered with it."
        )
    if key.startswith("rm_sec_"):
        return Finding(
            "ok",
            "license_key_secret",
            "A licence key is set, a secret one. If the API refuses it, set the public one.",
        )
    if key != FREE_LICENSE and not key.startswith("rm_"):
        return Finding("warning", "license_key_odd", "license_key does not look like a Remotion key (rm_pub_…).")
    return Finding("ok", "license_key_set", "A licence key is set.")


def _examine_hosts(recorder: UsageRecorder) -> Iterable[Finding]:
    settings = recorder.settings
    if settings.host is None and recorder.allows_host is None:
        yield Finding(
            "warning",
            "any_host",
            "Neither host nor allowed_hosts is set: any caller can name the host of a usage point, "
            '"http://localhost" included, which is not billed. List your origins in allowed_hosts.',
        )
    if settings.host and settings.allowed_hosts and not (recorder.allows_host and recorder.allows_host(settings.host)):
        yield Finding(
            "warning",
            "host_not_allowed",
            f"host is {settings.host}, which allowed_hosts does not list. Every point has that host, and allowed_hosts "
            "has no effect: remove one of them.",
        )
    hosts = [settings.host] if settings.host else [*(settings.allowed_hosts or ())]
    local = [host for host in hosts if is_local(host)]
    if settings.is_production and local:
        name = "host is" if settings.host else "allowed_hosts has"
        yield Finding(
            "warning",
            "local_host",
            f"{name} {', '.join(local)}, a local address: its points count as development. In production leave it out; "
            "in development set is_production to false.",
        )
    if not settings.is_production and hosts and not local:
        yield Finding(
            "warning",
            "not_production",
            f"is_production is false, but the hosts are public ({', '.join(hosts)}): no point is billed. Is this a "
            "test system?",
        )

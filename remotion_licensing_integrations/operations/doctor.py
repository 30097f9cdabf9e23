"""
The command that looks for problems of a set-up: `doctor`. It changes nothing and registers nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import socket
import ssl
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from ..errors import OutboxError
from ..outbox import Finding, Outbox
from ..points import is_local
from ..recording import UsageRecorder
from ..settings import ENVIRONMENT, FREE_LICENSE, LicenseKeys
from .command import command
from .inspect import OVERDUE, count_foreign, describe_foreign, describe_pause
from .output import answer, plural

_STALE: Final = timedelta(hours=1)
_CONNECT_TIMEOUT: Final = 3.0  # seconds


@command("doctor", "look for what is wrong with the set-up", takes_any_app=True)
def doctor(arguments: argparse.Namespace, recorder: UsageRecorder) -> int:
    """
    Print findings; status 1 when one of them is an error.
    """
    findings = examine(recorder)
    facts = {"findings": [asdict(finding) for finding in findings]}
    answer(arguments, facts, *(f"{finding.level:<8}{finding.text}" for finding in findings))
    return 1 if any(finding.level == "error" for finding in findings) else 0


def examine(recorder: UsageRecorder) -> list[Finding]:
    """
    Look at settings, outbox, licensing API and installed packages.
    """
    settings = recorder.settings
    return [
        _examine_key(recorder.keys),
        *_examine_host(recorder),
        *_examine_outbox(recorder),
        *_examine_spill(recorder),
        *_examine_base_url(settings.base_url),
        _examine_api(settings.base_url),
        *_examine_packages(),
    ]


def _examine_key(keys: LicenseKeys) -> Finding:
    key = keys.current
    if key is None:
        return Finding(
            "error",
            "No licence key: set REMOTION_LICENSE_KEY or REMOTION_PRIVATE_LICENSE_KEY. Nothing is recorded without it.",
        )
    if keys.is_private:
        return Finding("ok", "Only the private licence key is set; points are registered with it.")
    if key.startswith("rm_sec_"):
        return Finding("ok", "A licence key is set, a secret one. If the API refuses it, set the public one.")
    if key != FREE_LICENSE and not key.startswith("rm_"):
        return Finding("warning", "license_key does not look like a Remotion key (rm_pub_…).")
    return Finding("ok", "A licence key is set.")


def _examine_host(recorder: UsageRecorder) -> Iterable[Finding]:
    settings = recorder.settings
    if settings.host is None and recorder.allows_host is None:
        yield Finding(
            "warning",
            "Neither host nor allowed_hosts is set: any caller can name the host of a usage point, "
            '"http://localhost" included, which is not billed. List your origins in allowed_hosts.',
        )
    if settings.is_production and settings.host and is_local(settings.host):
        yield Finding("warning", f"host is {settings.host}, a local address: its points count as development.")


def _examine_outbox(recorder: UsageRecorder) -> Iterable[Finding]:
    outbox = recorder.outbox
    try:
        findings = [*outbox.examine()]
        if not outbox.exists():
            # Not created here: it would belong to this user, who need not be the app's user.
            yield from findings or [_missing(outbox)]
            return
        counts, pauses = outbox.counts(), outbox.pauses()
    except OutboxError as error:
        yield Finding("error", str(error))
        return
    yield Finding("ok", f"The outbox {outbox!r} can be used; {plural(counts.pending, 'point')} pending.")
    for fingerprint, number in count_foreign(recorder).items():
        yield Finding("warning", describe_foreign(fingerprint, number))
    for pause in pauses:
        yield Finding("error", f"Delivery is paused: {describe_pause(pause)}")
    if counts.oldest_pending and datetime.now(UTC) - counts.oldest_pending > _STALE:
        yield Finding(
            "warning",
            f"A point has been pending since {counts.oldest_pending:%Y-%m-%d %H:%M}Z; is delivery running?",
        )
    if counts.rejected or counts.held:
        yield Finding("warning", f"Points rejected: {counts.rejected}, held: {counts.held}; see `list --state`.")
    if counts.oldest_deferred and datetime.now(UTC) - counts.oldest_deferred > OVERDUE:
        yield Finding(
            "warning", "Some points have been deferred for more than a day; see `status`. Has their work ended?"
        )
    yield from findings


def _examine_spill(recorder: UsageRecorder) -> Iterable[Finding]:
    spill = recorder.spill
    if recorder.settings.spill == "off":
        yield Finding(
            "warning",
            'spill is "off": while the outbox refuses points, they are in memory only, and a process that is killed '
            "loses them.",
        )
    if spill is None:
        return
    try:
        spilled = recorder.count_spilled()
    except OutboxError as error:
        yield Finding("error", f"The spill cannot be used: {error}")
        return
    yield from spill.examine()
    if spilled:
        yield Finding("warning", f"{plural(spilled, 'point')} in the spill {spill!r} until the outbox accepts them.")


def _missing(outbox: Outbox) -> Finding:
    return Finding(
        "warning",
        f"{outbox!r} does not exist yet; the first point creates it. If the app has recorded points, it uses another "
        f"outbox: see {ENVIRONMENT['outbox']}.",
    )


def _examine_base_url(base_url: str) -> Iterable[Finding]:
    if base_url.startswith("http:") and not is_local(base_url):
        yield Finding(
            "warning",
            f"base_url is {base_url}: the licence key goes over the network in clear text, and anyone on the way can "
            "answer. Use https://.",
        )


def _examine_api(base_url: str) -> Finding:
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT) as connection:
            if parts.scheme == "https":
                ssl.create_default_context().wrap_socket(connection, server_hostname=host).close()
    except OSError as error:
        return Finding(
            "error", f"The licensing API at {base_url} cannot be reached: {error}. Points are kept until it answers."
        )
    return Finding("ok", f"The licensing API at {base_url} can be reached.")


def _examine_packages() -> Iterable[Finding]:
    if importlib.util.find_spec("remotion_lambda") is not None:
        yield Finding(
            "warning",
            "remotion_lambda is installed: it reports renders by itself when given a licence key. "
            "Do not also count the endpoints that call it.",
        )

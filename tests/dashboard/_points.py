"""
Usage points for the dashboard's tests: a month of them, made through the outbox as recording and delivery make them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from remotion_licensing_integrations import Registration, UsagePoint
from remotion_licensing_integrations.outbox import Change, ClaimedPoint, Outbox

KEY = "rm_pub_4bZ0kQ"
PRIVATE_KEY = "rm_sec_9yT2wL"
REFUSED = "HTTP 400: host: this project does not allow it"
UNANSWERED = "Sent 24 hours ago without an answer."

Result = Callable[[ClaimedPoint], Change]


def new_point(key: str, **changes) -> UsagePoint:
    return UsagePoint(
        **{
            "event": "cloud-render",
            "host": "https://myapp.com",
            "succeeded": True,
            "idempotency_key": key,
            **changes,
        }
    )


def add(outbox: Outbox, key: str, result: Result | None = None, **changes) -> None:
    """
    Store a point, and update it as a deliverer would, with *result* of its claim.
    """
    outbox.add([new_point(key, **changes)])
    if result is not None:
        fingerprints = [changes["key_fingerprint"]] if "key_fingerprint" in changes else []
        outbox.update([result(claimed) for claimed in outbox.claim(1_000, lease=60, fingerprints=fingerprints)])


def register(word: str = "billable") -> Result:
    return lambda claimed: claimed.register(Registration(word == "billable", word))


def add_month(outbox: Outbox, now: datetime | None = None) -> None:
    """
    Make points of every state and classification over thirty days; always the same ones for a day.
    """
    now = now or datetime.now(UTC)
    chance = random.Random(4)
    hosts = {"development": "http://localhost:3000"}
    words = {}
    for age in range(29, -1, -1):
        for _ in range(chance.randrange(2, 9) + (29 - age) // 3):
            word = chance.choices(["billable", "development", "failed"], [8, 3, 1])[0]
            key = f"{len(words):04}-point"
            words[key] = word
            outbox.add(
                [
                    new_point(
                        key,
                        event="web-render" if len(words) % 5 == 0 else "cloud-render",
                        host=hosts.get(word, "https://myapp.com"),
                        succeeded=word != "failed",
                        occurred_at=now - timedelta(days=age),
                    )
                ]
            )
    outbox.update([register(words[each.point.idempotency_key])(each) for each in outbox.claim(10_000, lease=60)])
    for number in range(2):
        add(outbox, f"rejected-{number}", lambda claimed: claimed.reject(REFUSED), host="https://other.example")
    add(outbox, "held-0", lambda claimed: claimed.hold(UNANSWERED, unanswered=True))
    add(outbox, "pending-0", lambda claimed: claimed.reschedule(600, "HTTP 503: try later"))
    outbox.add([new_point("deferred-0", succeeded=None, occurred_at=now - timedelta(days=2))])

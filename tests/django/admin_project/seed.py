"""
Fill the database with a month of usage points and two people: `operator`, and `viewer` who may only look.
"""

import random
import time
from datetime import datetime, timedelta

import django
from django.core.management import call_command
from django.utils import timezone

django.setup()

from django.contrib.auth.models import Permission, User  # noqa: E402 - models load after the apps

from remotion_licensing_integrations.django.models import UsagePointRecord  # noqa: E402 - Django must be set up first

REFUSED = "400: The host is not an origin that is known."


def seed() -> None:
    """
    Migrate, and make people and points.
    """
    call_command("migrate", verbosity=0)
    User.objects.create_superuser("operator", password="operator")
    viewer = User.objects.create_user("viewer", password="viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_usagepointrecord"))
    make_month(timezone.now())


def make_month(now: datetime) -> None:
    """
    Make points with every state and classification; always the same ones.
    """
    chance = random.Random(4)
    records = []
    for age in range(29, -1, -1):
        for _ in range(chance.randrange(2, 9) + (29 - age) // 3):
            kind = chance.choices(["billable", "development", "failed"], [8, 3, 1])[0]
            records.append(make_record(now - timedelta(days=age), len(records), classification=kind))
    records += [
        make_record(now, len(records), state="rejected", last_error=REFUSED),
        make_record(now, len(records) + 1, state="rejected", last_error=REFUSED),
        make_record(now, len(records) + 2, state="held", last_error="Sent 24 hours ago without an answer."),
        make_record(now, len(records) + 3, state="pending"),
        make_record(now, len(records) + 4, state="deferred"),
    ]
    UsagePointRecord.objects.bulk_create(records)


def make_record(moment, number, *, state="registered", classification=None, last_error=None):
    hosts = {"development": "http://localhost:3000"}
    return UsagePointRecord(
        idempotency_key=f"{number:04}-point",
        event="web-render" if number % 5 == 0 else "cloud-render",
        host=hosts.get(classification, "https://myapp.com"),
        succeeded=None if state == "deferred" else classification != "failed",
        is_still=False,
        is_production=True,
        occurred_at=moment,
        state=state,
        due=time.time(),
        attempts=0 if state in {"pending", "deferred"} else 1,
        last_error=last_error,
        billable=None if classification is None else classification == "billable",
        classification=classification,
    )


if __name__ == "__main__":
    seed()

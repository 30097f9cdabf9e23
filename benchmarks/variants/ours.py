"""
Our middleware, and the decorator.
"""

from __future__ import annotations

from django.core.management import call_command

from remotion_licensing_integrations._support.testrun import is_test_run
from remotion_licensing_integrations.django import usage_point
from remotion_licensing_integrations.django.models import UsagePointRecord
from remotion_licensing_integrations.django.recorder import get_recorder

from . import Count, View


def add(convert: View) -> tuple[View, Count]:
    """
    Decorate *convert*.
    """
    if is_test_run():
        msg = "this process counts as a test run, whose recorder has no threads"
        raise RuntimeError(msg)
    call_command("migrate", verbosity=0)
    return usage_point("cloud-render")(convert), count


def count() -> int:
    """
    Count the points in the outbox once all of them are committed.
    """
    get_recorder.forget()
    return UsagePointRecord.objects.count()

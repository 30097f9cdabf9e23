"""
Our middleware, and the decorator.
"""

from __future__ import annotations

from django.core.management import call_command

from remotion_licensing_integrations import UsageRecorder
from remotion_licensing_integrations.django import usage_point
from remotion_licensing_integrations.django.models import UsagePointRecord
from remotion_licensing_integrations.django.recorder import forget_recorder, get_recorder

from . import Count, View


def add(convert: View) -> tuple[View, Count]:
    """
    Decorate *convert*.
    """
    if type(get_recorder()) is not UsageRecorder:
        msg = "this process counts as a test run, whose recorder is another one"
        raise RuntimeError(msg)
    call_command("migrate", verbosity=0)
    return usage_point("cloud-render")(convert), count


def count() -> int:
    """
    Count the points in the outbox once all of them are committed.
    """
    forget_recorder()
    return UsagePointRecord.objects.count()

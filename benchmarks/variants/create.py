"""
A view that stores what makes up a usage point by itself.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction
from django.db import connection, models
from django.http import HttpRequest

from remotion_licensing_integrations.points.point import UsagePoint

from ..common import point
from . import Count, View


class Conversion(models.Model):
    """
    A row with the fields of a usage point.
    """

    idempotency_key = models.CharField(max_length=255)
    event = models.CharField(max_length=40)
    host = models.CharField(max_length=300)
    succeeded = models.BooleanField()
    is_still = models.BooleanField()
    is_production = models.BooleanField()
    occurred_at = models.DateTimeField()
    label = models.CharField(max_length=255, null=True)  # noqa: DJ001 - as of a usage point
    key_fingerprint = models.CharField(max_length=40, null=True)  # noqa: DJ001 - as of a usage point

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.idempotency_key


def add(convert: View) -> tuple[View, Count]:
    """
    Have *convert* store a row.
    """
    with connection.schema_editor() as editor:
        editor.create_model(Conversion)

    def store(request: HttpRequest) -> Any:
        Conversion.objects.create(**facts())
        return convert(request)

    async def astore(request: HttpRequest) -> Any:
        await Conversion.objects.acreate(**facts())
        return await convert(request)

    return astore if iscoroutinefunction(convert) else store, Conversion.objects.count


def facts() -> dict[str, Any]:
    """
    Return the fields of a new usage point.
    """
    made = point()
    return {name: getattr(made, name) for name in UsagePoint.__dataclass_fields__}

"""
The table of usage points in the project's own database.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext_lazy as _

from ..outbox import MAX_ERROR_LENGTH, State
from ..points import EVENTS, MAX_HOST_LENGTH, MAX_KEY_LENGTH


class KeyField(models.CharField):  # type: ignore[type-arg] # generic for type checkers only
    """
    Text of which `a` and `A` are two values in every database, MariaDB and MySQL included.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        """
        Return the column's type, and the collation where the default one ignores case.
        """
        parameters = super().db_parameters(connection)
        return {**parameters, "collation": "utf8mb4_bin"} if connection.vendor == "mysql" else parameters


class UsagePointRecord(models.Model):
    """
    A usage point with what has happened to it; written by `DjangoOutbox` only.
    """

    idempotency_key = KeyField(_("idempotency key"), max_length=MAX_KEY_LENGTH, unique=True)
    event = models.CharField(_("event"), max_length=40, choices=[(event, event) for event in EVENTS])
    host = models.CharField(_("host"), max_length=MAX_HOST_LENGTH, null=True, blank=True)  # noqa: DJ001 - null is a value of the licensing API
    succeeded = models.BooleanField(_("succeeded"), null=True, help_text=_("Unknown while the point is deferred."))
    is_still = models.BooleanField(_("still image"))
    is_production = models.BooleanField(_("production"))
    occurred_at = models.DateTimeField(_("occurred at"))
    state = models.CharField(
        _("state"),
        max_length=12,
        choices=[(state.value, _(state.value)) for state in State],
        default=State.PENDING.value,
    )
    # Epoch seconds: arithmetic and comparison are the same on every database, with and without time zones.
    due = models.FloatField(
        _("due"), help_text=_("When it is delivered next while pending, else when it came into its state.")
    )
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    token = models.CharField(max_length=32, null=True, editable=False)  # noqa: DJ001 - null: not claimed
    unanswered_since = models.FloatField(_("unanswered since"), null=True)
    last_error = models.TextField(_("last error"), null=True)  # noqa: DJ001 - null: none
    billable = models.BooleanField(_("billable"), null=True)
    classification = models.CharField(_("classification"), max_length=MAX_ERROR_LENGTH, null=True)  # noqa: DJ001 - null: not said

    class Meta:
        verbose_name = _("usage point")
        verbose_name_plural = _("usage points")
        indexes = [models.Index(fields=["state", "due"], name="remotion_usage_due")]

    def __str__(self) -> str:
        return f"{self.event} {self.idempotency_key}"

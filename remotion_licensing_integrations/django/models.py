"""
The tables of the outbox in the project's own database; `DjangoOutbox` reads and writes them.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext_lazy as _

from ..outbox import MAX_ERROR_LENGTH, MAX_KEPT_CLASSIFICATION, State
from ..points import EVENTS, MAX_FINGERPRINT_LENGTH, MAX_HOST_LENGTH, MAX_KEY_LENGTH, MAX_LABEL_LENGTH

#: The index that serves the order of claims, for each licence key.
DUE_INDEX: Final = "remotion_usage_due"


if TYPE_CHECKING:  # fields are generic for type checkers only
    _AnyText = models.CharField[Any, Any]
    _Text = models.CharField[str, str]
    _TextOrNone = models.CharField[str | None, str | None]
    _LongTextOrNone = models.TextField[str | None, str | None]
    _Flag = models.BooleanField[bool, bool]
    _FlagOrNone = models.BooleanField[bool | None, bool | None]
    _Number = models.IntegerField[int, int]
    _Seconds = models.FloatField[float, float]
    _SecondsOrNone = models.FloatField[float | None, float | None]
    _Moment = models.DateTimeField[datetime, datetime]
else:
    _AnyText = models.CharField


class KeyField(_AnyText):
    """
    Text that is compared with case in every database, also in MariaDB and MySQL.
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

    idempotency_key: _Text = KeyField(_("idempotency key"), max_length=MAX_KEY_LENGTH, unique=True)
    event: _Text = models.CharField(_("event"), max_length=40, choices=[(event, event) for event in EVENTS])
    host: _TextOrNone = models.CharField(_("host"), max_length=MAX_HOST_LENGTH, null=True, blank=True)  # noqa: DJ001 - null is a value of the licensing API
    succeeded: _FlagOrNone = models.BooleanField(
        _("succeeded"), null=True, help_text=_("Unknown while the point is deferred.")
    )
    is_still: _Flag = models.BooleanField(_("still image"))
    is_production: _Flag = models.BooleanField(_("production"))
    occurred_at: _Moment = models.DateTimeField(_("occurred at"))
    state: _Text = models.CharField(
        _("state"),
        max_length=12,
        choices=[(state.value, _(state.value)) for state in State],
        default=State.PENDING.value,
    )
    # Epoch seconds: arithmetic and comparison are the same on every database, with and without time zones.
    due: _Seconds = models.FloatField(
        _("due"), help_text=_("When it is delivered next while pending, else when it came into its state.")
    )
    attempts: _Number = models.PositiveIntegerField(_("attempts"), default=0)
    token: _TextOrNone = models.CharField(max_length=32, null=True, editable=False)  # noqa: DJ001 - null: not claimed
    unanswered_since: _SecondsOrNone = models.FloatField(_("unanswered since"), null=True)
    last_error: _LongTextOrNone = models.TextField(_("last error"), null=True)  # noqa: DJ001 - null: none
    billable: _FlagOrNone = models.BooleanField(_("billable"), null=True)
    classification: _TextOrNone = models.CharField(_("classification"), max_length=MAX_ERROR_LENGTH, null=True)  # noqa: DJ001 - null: not said
    label: _TextOrNone = KeyField(_("label"), max_length=MAX_LABEL_LENGTH, null=True)
    # Tells licence keys apart, empty for any key; no key is ever stored.
    key_fingerprint: _Text = models.CharField(
        _("fingerprint of the key"), max_length=MAX_FINGERPRINT_LENGTH, default=""
    )

    class Meta:
        verbose_name: ClassVar[Any] = _("usage point")
        verbose_name_plural: ClassVar[Any] = _("usage points")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["state", "key_fingerprint", "due", "id"], name=DUE_INDEX),
            models.Index(fields=["state", "due", "id"], name="remotion_usage_state"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.idempotency_key}"


class PauseRecord(models.Model):
    """
    The pause of a deliverer; moments are epoch seconds.
    """

    deliverer: _Text = KeyField(primary_key=True, max_length=MAX_ERROR_LENGTH)
    reason: _Text = models.CharField(max_length=MAX_ERROR_LENGTH)
    since: _Seconds = models.FloatField()
    until: _Seconds = models.FloatField()

    def __str__(self) -> str:
        return f"{self.deliverer}: {self.reason}"


class DailyTotalRecord(models.Model):
    """
    How many points of a day were registered, once the points themselves are pruned.

    Days are numbers, counted from 1970-01-01 in UTC: when the points occurred, and when they were registered.
    """

    day: _Number = models.IntegerField()
    registered_day: _Number = models.IntegerField()
    event: _Text = models.CharField(max_length=40)
    host: _Text = models.CharField(max_length=MAX_HOST_LENGTH)
    label: _Text = KeyField(max_length=MAX_LABEL_LENGTH)
    key_fingerprint: _Text = KeyField(max_length=MAX_FINGERPRINT_LENGTH)
    classification: _Text = models.CharField(max_length=MAX_KEPT_CLASSIFICATION)
    number: _Number = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["day", "registered_day", "event", "host", "label", "key_fingerprint", "classification"],
                name="remotion_total_of_a_day",
            )
        ]

    def __str__(self) -> str:
        return f"{date(1970, 1, 1) + timedelta(days=self.day)} {self.event}: {self.number}"

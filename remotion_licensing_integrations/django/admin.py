"""
The usage points in Django's admin, to read, filter, export and retry.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..errors import OutboxError
from ..outbox import State
from .conf import database_alias
from .export import acsv_lines, csv_lines
from .models import UsagePointRecord
from .outbox import DjangoOutbox
from .summary import Summary

_STUCK: Final = (State.REJECTED.value, State.HELD.value)
_BATCH: Final = 500  # keys in one statement: databases bound their number
_ERROR_LENGTH: Final = 80  # characters of an error in the list


if TYPE_CHECKING:  # generic for type checkers only
    _ModelAdmin = admin.ModelAdmin[UsagePointRecord]
else:
    _ModelAdmin = admin.ModelAdmin


@admin.register(UsagePointRecord)
class UsagePointAdmin(_ModelAdmin):
    """
    Shows usage points; their fields are read-only, because points are billed.
    """

    list_display: tuple[str, ...] = (
        "occurred_at",
        "state_label",
        "event",
        "host",
        "label",
        "classification",
        "succeeded",
        "attempts",
        "short_error",
    )
    list_filter: ClassVar[tuple[str, ...]] = ("state", "event", "classification", "succeeded")
    # Compared from the start and with case, so that an index serves the search for a key.
    search_fields: ClassVar[tuple[str, ...]] = ("idempotency_key__startswith", "host", "label")
    search_help_text: ClassVar[Any] = _("Search by host, label or the beginning of an idempotency key.")
    date_hierarchy: ClassVar[str] = "occurred_at"
    ordering: ClassVar[tuple[str, ...]] = ("-pk",)
    show_full_result_count: ClassVar[bool] = False
    actions: Sequence[str] = ("retry_selected", "export_as_csv")
    fieldsets: ClassVar[Any] = (
        (
            _("Conversion"),
            {
                "fields": (
                    *("event", "host", "succeeded", "is_still", "is_production", "occurred_at"),
                    *("idempotency_key", "label", "key_fingerprint"),
                )
            },
        ),
        (_("Delivery"), {"fields": ("state_label", "attempts", "due_at", "unanswered_at", "last_error")}),
        (_("Answer of the licensing API"), {"fields": ("classification", "billable")}),
    )

    class Media:
        css: Final = {"all": ("remotion_licensing/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsagePointRecord]:
        """
        Return the points of the database that the outbox uses.
        """
        return super().get_queryset(request).using(DjangoOutbox(using=database_alias()).alias)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - the same for all users
        """
        Return `False`: only requests and jobs add points.
        """
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - the same for all users
        """
        Return `False`: points are not edited. The permission to change points allows `retry_selected`.
        """
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - the same for all users
        """
        Return `False`: only `prune` deletes points.
        """
        return False

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """
        Whether the user may send points again.
        """
        return super().has_change_permission(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """
        Show the list, with a summary of all points above it.
        """
        summary = Summary(self.get_queryset(request))
        return super().changelist_view(request, {"usage": summary, **(extra_context or {})})

    @admin.action(description=_("Retry selected usage points"), permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[UsagePointRecord]) -> None:
        """
        Make the rejected and held points of *queryset* due again, with the same keys.
        """
        stuck = list(queryset.filter(state__in=_STUCK))
        keys = [record.idempotency_key for record in stuck]
        try:
            count = _retry(keys)
        except OutboxError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        if stuck:
            LogEntry.objects.log_actions(cast("int", request.user.pk), stuck, CHANGE, gettext("Made due again."))
        message = ngettext("%(count)d usage point is due again.", "%(count)d usage points are due again.", count)
        level = messages.SUCCESS if count else messages.WARNING
        if not count:
            message = gettext("None of the selected usage points is rejected or held.")
        self.message_user(request, message % {"count": count}, level)

    @admin.action(description=_("Export selected usage points as CSV"), permissions=["view"])
    def export_as_csv(self, request: HttpRequest, queryset: QuerySet[UsagePointRecord]) -> StreamingHttpResponse:
        """
        Answer with *queryset* as a CSV file.
        """
        lines = acsv_lines(queryset) if isinstance(request, ASGIRequest) else csv_lines(queryset)
        name = f"usage-points-{timezone.now():%Y-%m-%d}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)

    @admin.display(description=_("state"), ordering="state")
    def state_label(self, record: UsagePointRecord) -> str:
        """
        The state as a coloured label.
        """
        return format_html(
            '<span class="remotion-state remotion-state-{}">{}</span>',
            record.state,
            cast("Any", record).get_state_display(),
        )

    @admin.display(description=_("last error"), ordering="last_error")
    def short_error(self, record: UsagePointRecord) -> str | None:
        """
        The beginning of the last error.
        """
        return Truncator(record.last_error).chars(_ERROR_LENGTH) if record.last_error else None

    @admin.display(description=_("due"))
    def due_at(self, record: UsagePointRecord) -> str:
        """
        When a pending point is delivered next; for others, when they came into their state.
        """
        return _show_moment(record.due)

    @admin.display(description=_("unanswered since"))
    def unanswered_at(self, record: UsagePointRecord) -> str:
        """
        When the point was first sent without an answer, so that it may have been counted.
        """
        since = record.unanswered_since
        return str(self.get_empty_value_display()) if since is None else _show_moment(since)


def _retry(keys: Sequence[str]) -> int:
    outbox = DjangoOutbox(using=database_alias())
    return sum(outbox.retry(keys[start : start + _BATCH]) for start in range(0, len(keys), _BATCH))


def _show_moment(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    # Without time zones in UTC, like the other times of the table.
    return date_format(timezone.localtime(moment) if settings.USE_TZ else moment, "DATETIME_FORMAT")

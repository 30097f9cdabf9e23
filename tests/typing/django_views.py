"""
What views, models and settings of a Django project look like to mypy --strict and pyright; never run.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

# ruff: noqa: D102 - a view of a test explains itself

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from datetime import datetime
from typing import Any, ClassVar, assert_type

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from remotion_licensing_integrations import UsageRecorder
from remotion_licensing_integrations.django import LimitReached, conversion, current_usage, usage_limit, usage_point
from remotion_licensing_integrations.django.admin import UsagePointAdmin
from remotion_licensing_integrations.django.middleware import UsageMiddleware
from remotion_licensing_integrations.django.models import UsagePointRecord
from remotion_licensing_integrations.django.webhooks import aremotion_webhook, remotion_webhook


def let_pass(reached: LimitReached) -> bool:
    return reached.retry_after < 60


@usage_limit(1000, per="day", event="cloud-render", on_limit=let_pass)
@usage_point("cloud-render")
def convert(request: HttpRequest, name: str) -> HttpResponse:
    current_usage().label = name
    return HttpResponse(request.path)


@usage_limit(1000)
@usage_point("cloud-render", host="https://myapp.com", is_still=True, is_production=False)
async def convert_async(request: HttpRequest) -> HttpResponse:
    async with conversion("web-render"):
        return HttpResponse(request.path)


@usage_point("web-render")
def stream(name: str) -> Iterator[bytes]:
    yield name.encode()


@usage_point("web-render")
async def stream_async(name: str) -> AsyncIterator[bytes]:
    yield name.encode()


class Convert(View):
    @usage_point("cloud-render")
    def post(self, request: HttpRequest, name: str) -> HttpResponse:
        return convert(request, name)

    @method_decorator(usage_limit(10))
    @usage_point("cloud-render")
    async def put(self, request: HttpRequest) -> HttpResponse:
        return await convert_async(request)


view: Callable[[HttpRequest, str], HttpResponse] = convert
view_async: Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]] = convert_async
assert_type(Convert().post(HttpRequest(), "a"), HttpResponse)
assert_type(stream("a"), Iterator[bytes])
assert_type(stream_async("a"), AsyncIterator[bytes])
convert(HttpRequest(), 3)  # type: ignore[arg-type]
convert(HttpRequest())  # type: ignore[call-arg]
usage_point("cloud")  # type: ignore[arg-type]
usage_limit(10, per="week")  # type: ignore[arg-type]
usage_limit(10, max=5)  # type: ignore[call-arg]

urlpatterns = [
    path("convert/<str:name>", convert),
    path("convert", convert_async),
    path("convert-class/<str:name>", Convert.as_view()),
    path("webhooks/remotion/", remotion_webhook("secret", host="https://myapp.com", recorder=UsageRecorder())),
]
webhook: Callable[[HttpRequest], HttpResponseBase] = remotion_webhook()
webhook_async: Callable[[HttpRequest], Awaitable[HttpResponseBase]] = aremotion_webhook(max_body=1_000)
remotion_webhook("secret", events="web-render")  # type: ignore[call-arg]
aremotion_webhook("secret", event="web")  # type: ignore[arg-type]

UsageMiddleware(view_async)
UsageMiddleware(webhook)
UsageMiddleware("app")  # type: ignore[arg-type]

record = UsagePointRecord()
assert_type(record.event, str)
assert_type(record.host, str | None)
assert_type(record.succeeded, bool | None)
assert_type(record.occurred_at, datetime)
assert_type(record.attempts, int)
assert_type(record.due, float)


class Admin(UsagePointAdmin):
    list_display = (*UsagePointAdmin.list_display, "billable")
    list_filter: ClassVar[tuple[str, ...]] = ("event",)
    ordering = ("occurred_at",)

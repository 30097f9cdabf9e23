"""
Plain Django views; what a view shall do is in its path.
"""

import asyncio
import io
import threading

from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.utils.decorators import method_decorator
from django.views import View

from remotion_licensing_integrations.django import current_usage, usage_point
from remotion_licensing_integrations.django.models import UsagePointRecord

#: What a slow view tells a test, and waits for.
entered, gate, left = threading.Event(), threading.Event(), threading.Event()


def _respond(outcome):
    errors = {"missing": Http404, "denied": PermissionDenied, "crash": RuntimeError}
    if outcome in errors:
        raise errors[outcome]
    return HttpResponse("video", status=int(outcome))


@usage_point("cloud-render")
def convert(request, outcome):
    return _respond(outcome)


@usage_point("cloud-render")
async def aconvert(request, outcome):
    return _respond(outcome)


class Convert(View):
    @usage_point("cloud-render")
    def post(self, request):
        return HttpResponse("video")

    def get(self, request):
        return HttpResponse("form")


@method_decorator(usage_point("cloud-render"), name="dispatch")
class Dispatched(View):
    def post(self, request):
        return HttpResponse("video")


class AsyncConvert(View):
    @usage_point("cloud-render")
    async def post(self, request):
        return HttpResponse("video")


@usage_point("cloud-render")
def stream(request, outcome):
    def chunks():
        yield b"vid"
        if outcome == "crash":
            raise RuntimeError
        yield b"eo"

    return StreamingHttpResponse(chunks())


@usage_point("cloud-render")
async def astream(request, outcome):
    async def chunks():
        yield b"vid"
        if outcome == "crash":
            raise RuntimeError
        if outcome == "gone":
            raise asyncio.CancelledError
        yield b"eo"

    return StreamingHttpResponse(chunks())


@usage_point("cloud-render")
def file(request):
    return FileResponse(io.BytesIO(b"video"), filename="video.mp4")


def plain(request):
    return HttpResponse("no conversion")


def other(request):
    return HttpResponse(status=202)


@usage_point("cloud-render")
def accepted(request):
    return HttpResponse(status=202)


@usage_point("cloud-render")
def deferred(request):
    return JsonResponse({"token": current_usage().defer()}, status=202)


@usage_point("cloud-render")
def thread(request):
    return HttpResponse(str(threading.get_ident()))


@usage_point("cloud-render")
async def athread(request):
    return HttpResponse(str(threading.get_ident()))


@usage_point("cloud-render")
def slow(request):
    entered.set()
    gate.wait(10)
    return HttpResponse("video")


@usage_point("cloud-render")
def slow_stream(request):
    entered.set()
    gate.wait(10)
    return StreamingHttpResponse([b"video"])


@usage_point("cloud-render")
def slow_file(request):
    entered.set()
    gate.wait(10)
    return FileResponse(io.BytesIO(b"video"))


@usage_point("cloud-render")
async def aslow(request):
    entered.set()
    await asyncio.Event().wait()


@usage_point("cloud-render")
def stored(request):
    """
    Change the database, then fail when told so.
    """
    UsagePointRecord.objects.create(
        idempotency_key="of-the-view",
        event="web-render",
        succeeded=True,
        is_still=False,
        is_production=True,
        occurred_at="2026-01-01T00:00:00Z",
        due=0,
        state="registered",
    )
    if "crash" in request.GET:
        raise RuntimeError
    return HttpResponse("video")


@usage_point("cloud-render")
def orphan(request):
    """
    Store what the database refuses at the commit: a row of a user that does not exist.
    """
    LogEntry.objects.create(user_id=4711, action_flag=1, object_repr="video")
    return HttpResponse("video")

"""
The admin, its style sheets, and two conversions that convert nothing but say which usage point they have.
"""

import os

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from remotion_licensing_integrations.django import current_usage, usage_point


def _identify():
    return JsonResponse({"idempotency_key": current_usage().idempotency_key, "pid": os.getpid()})


@csrf_exempt
@usage_point("cloud-render")
def convert(request):
    return _identify()


@csrf_exempt
@usage_point("cloud-render")
async def aconvert(request):
    return _identify()


def health(request):
    return JsonResponse({"pid": os.getpid()})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("static/<path:path>", serve, {"insecure": True}),
    path("convert", convert),
    path("aconvert", aconvert),
    path("health", health),
]

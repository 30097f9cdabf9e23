"""
The same as a Django project: its settings, its URLs and its view.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from remotion_licensing_integrations import UsagePoint, default_recorder
from remotion_licensing_integrations.django import conversion
from remotion_licensing_integrations.recording import recorder as recorder_module

from .api import DEFERRED, to_host

recorder_module.COMMIT_WAIT = float(os.environ["SOAK_COMMIT_WAIT"])  # type: ignore[misc] # a constant elsewhere

SECRET_KEY = "only for the soak"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = __name__
INSTALLED_APPS = ["remotion_licensing_integrations.django"]
MIDDLEWARE = ["remotion_licensing_integrations.django.middleware.UsageMiddleware"]
DATABASES = {"default": json.loads(os.environ["SOAK_DATABASE"])}


@csrf_exempt
def convert(request: HttpRequest) -> JsonResponse:
    """
    Convert the pieces of work from `first` on.
    """
    first, number = (int(request.GET[name]) for name in ("first", "number"))
    return JsonResponse([_convert(work) for work in range(first, first + number)], safe=False)


def _convert(work: int) -> str:
    if work % DEFERRED == 0:
        point = UsagePoint(event="cloud-render", host=to_host(work), succeeded=None)
        default_recorder().record(point)
        default_recorder().record(replace(point, succeeded=True))
        return point.idempotency_key
    with conversion("cloud-render", host=to_host(work)) as usage:
        return usage.idempotency_key


def health(_: HttpRequest) -> JsonResponse:
    """
    Answer.
    """
    return JsonResponse({})


urlpatterns = [path("convert", convert), path("health", health)]

"""
A Django project in one file, for WSGI and ASGI servers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import django
from conversions import FILE, LONG, STREAMS, astream, prepare, stream
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.http import require_POST

from remotion_licensing_integrations.usage import usage_point

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={},
    INSTALLED_APPS=["remotion_licensing_integrations.django"],
    MIDDLEWARE=["remotion_licensing_integrations.django.middleware.UsageMiddleware"],
    REMOTION_LICENSING={"OUTBOX": os.environ["REMOTION_LICENSING_OUTBOX"]},
    ROOT_URLCONF=__name__,
)
django.setup()


@require_POST
@usage_point("cloud-render")
def convert(request: HttpRequest, what: str) -> HttpResponseBase:
    status = prepare(what)
    if what in STREAMS:
        return StreamingHttpResponse((astream if hasattr(request, "scope") else stream)(what), status=status)
    if what == "file":
        return FileResponse(Path(FILE).open("rb"))
    return HttpResponse(LONG if what == "long" else b"", status=status)


def plain(_: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns: list[Any] = [path("convert/<what>", convert), path("plain", plain)]
wsgi = get_wsgi_application()
asgi = get_asgi_application()

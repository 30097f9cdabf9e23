"""
The metrics page, for `path("metrics", metrics)`.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from ..operations import CONTENT_TYPE, prometheus_text


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view
    """
    Return the metrics of this process in the text format of Prometheus.

    Everybody who may call it sees how much is converted: keep it from the public.
    """
    return HttpResponse(prometheus_text(), content_type=CONTENT_TYPE)

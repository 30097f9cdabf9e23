"""
Usage limits of Django views, against the sandbox.
"""

# ruff: noqa: D102 - a view of a test explains itself

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.http import JsonResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from remotion_licensing_integrations.django import usage_limit, usage_point
from remotion_licensing_integrations.testing import Sandbox
from tests.django._kinds import outcomes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


@usage_limit(max_billable=2, event="cloud-render")
@usage_point("cloud-render")
def convert(_):
    return JsonResponse({})


@usage_limit(max_billable=2, event="cloud-render")
@usage_point("cloud-render")
async def aconvert(_):
    return JsonResponse({})


@method_decorator(usage_limit(max_billable=2, event="cloud-render"), name="post")
class Convert(View):
    @usage_point("cloud-render")
    def post(self, _):
        return JsonResponse({})


urlpatterns = [path("sync", convert), path("async", aconvert), path("class", Convert.as_view())]


@pytest.fixture(autouse=True)
def _project(settings):
    with Sandbox() as sandbox:
        settings.REMOTION_LICENSING = {
            **settings.REMOTION_LICENSING,
            "PRIVATE_LICENSE_KEY": "rm_sec_test",
            "BASE_URL": sandbox.url,
        }
        yield


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("view", ["sync", "async", "class"])
def test_requests_beyond_the_limit_are_refused(kind, view):
    """
    As many requests pass as the limit says; the others get a problem document, and no point is recorded for them.
    """
    post = Client().post if kind == "sync" else async_to_sync(AsyncClient().post)
    responses = [post(f"/{view}") for _ in range(4)]

    assert [response.status_code for response in responses] == [200, 200, 429, 429]
    assert responses[-1]["Content-Type"] == "application/problem+json"
    assert int(responses[-1]["Retry-After"]) > 0
    assert outcomes() == [True, True]

"""
What a Django project learns of its points, by signals and by the metrics page.
"""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import path

from remotion_licensing_integrations import Registration, UsagePoint
from remotion_licensing_integrations.django import signals
from remotion_licensing_integrations.django.metrics import metrics
from remotion_licensing_integrations.django.recorder import get_recorder
from remotion_licensing_integrations.recording import UsageRecorder
from remotion_licensing_integrations.testing import Sandbox
from tests._delivery import KEY

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

urlpatterns = [path("metrics", metrics)]
POINT = UsagePoint(event="cloud-render", host="https://myapp.com", succeeded=True)
REGISTRATION = Registration(billable=True, classification="billable")


@pytest.mark.parametrize(
    ("hook", "signal", "values"),
    [
        ("on_registered", signals.usage_registered, {"point": POINT, "registration": REGISTRATION}),
        ("on_rejected", signals.usage_rejected, {"point": POINT, "reason": "no"}),
        ("on_paused", signals.delivery_paused, {"reason": "the key is wrong"}),
    ],
)
def test_a_hook_sends_its_signal(hook, signal, values):
    """
    Each receiver gets the values by name, also after one that has failed; without receivers nothing happens.
    """
    told = []

    def fail(**_):
        raise RuntimeError

    def note(*, signal, sender, **values):
        told.append(values)

    signals.HOOKS[hook](*values.values())
    signal.connect(fail)
    signal.connect(note)
    try:
        signals.HOOKS[hook](*values.values())
    finally:
        signal.disconnect(fail)
        signal.disconnect(note)

    assert told == [values]


def test_registered_points_reach_receivers(settings):
    """
    The project's recorder sends the signals of what it delivers.
    """
    told = []

    def note(*, point, registration, **_):
        told.append((point.idempotency_key, registration))

    signals.usage_registered.connect(note)
    try:
        with Sandbox() as sandbox:
            own = {**settings.REMOTION_LICENSING, "BASE_URL": sandbox.url, "LICENSE_KEY": KEY}
            settings.REMOTION_LICENSING = own
            recorder = get_recorder()
            recorder._keeper = None
            assert isinstance(recorder, UsageRecorder)
            recorder.outbox.add([POINT])
            assert recorder.deliver() == 1
            recorder.stop()
    finally:
        signals.usage_registered.disconnect(note)

    assert told == [(POINT.idempotency_key, REGISTRATION)]


def test_metrics_page():
    """
    The view answers with the text of Prometheus, and to nothing but GET and HEAD.
    """
    response = Client().get("/metrics")

    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'remotion_usage_points{state="pending"} 0' in response.content.decode()
    assert Client().post("/metrics").status_code == 405

"""
The metrics of a recorder, as Prometheus and OpenTelemetry read them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from remotion_licensing_integrations import UsagePoint, set_default_recorder
from remotion_licensing_integrations.operations import instrument, metrics_app, prometheus_text
from tests._asgi import exchange
from tests._delivery import OK, REFUSAL, Api, RefusingOutbox, answer

REFUSED_KEY = answer(401, b'{"success":false,"error":"Invalid API key"}')


def point(key: str, **fields: Any) -> UsagePoint:
    return UsagePoint(**{"event": "cloud-render", "host": None, "succeeded": True, "idempotency_key": key, **fields})


def samples(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
def busy(make_recorder, patient):
    """
    A recorder after a day's work: registered, rejected, failed, deferred and pending points.
    """
    api = Api(OK, answer(400, REFUSAL), REFUSED_KEY)
    recorder = make_recorder(store=RefusingOutbox(), transport=api.transport, concurrency=1)
    for key in "ab":
        recorder.record(point(key))
    recorder.deliver()
    recorder.record(point("c", occurred_at=datetime.now(UTC) - timedelta(hours=1), succeeded=False))
    recorder.record(point("d", succeeded=None, event="web-render"))
    recorder.deliver()
    return recorder


def test_prometheus_text(busy):
    """
    The text has each figure, of the outbox and of the process.
    """
    values = samples(prometheus_text(busy))
    age = values.pop("remotion_usage_oldest_pending_age_seconds")
    deferred_age = values.pop("remotion_usage_oldest_deferred_age_seconds")

    assert 3600 <= age < 4000
    assert 0 <= deferred_age < 400
    assert values == {
        'remotion_usage_recorded_total{event="cloud-render",outcome="succeeded"}': 2,
        'remotion_usage_recorded_total{event="cloud-render",outcome="failed"}': 1,
        'remotion_usage_recorded_total{event="web-render",outcome="deferred"}': 1,
        'remotion_usage_attempts_total{event="cloud-render",result="registered"}': 1,
        'remotion_usage_attempts_total{event="cloud-render",result="rejected"}': 1,
        'remotion_usage_attempts_total{event="cloud-render",result="failed"}': 1,
        'remotion_usage_registered_total{event="cloud-render",classification="billable"}': 1,
        "remotion_usage_late_total": 0,
        "remotion_usage_logged_total": 0,
        "remotion_usage_waiting": 0,
        "remotion_usage_paused": 1,
        "remotion_usage_outbox_up": 1,
        'remotion_usage_points{state="deferred"}': 1,
        'remotion_usage_points{state="pending"}': 1,
        'remotion_usage_points{state="registered"}': 1,
        'remotion_usage_points{state="rejected"}': 1,
        'remotion_usage_points{state="held"}': 0,
        "remotion_usage_spilled": 0,
    }


def test_each_metric_is_explained(busy):
    """
    Every metric has its type and a sentence.
    """
    text = prometheus_text(busy)

    assert "# TYPE remotion_usage_recorded_total counter" in text
    assert "# HELP remotion_usage_points Usage points in the outbox." in text
    assert text.endswith("\n")


def test_foreign_words_are_escaped(make_recorder, patient):
    """
    A classification of the API cannot break the text.
    """
    body = b'{"success":true,"billable":true,"classification":"a\\"b\\\\c\\nd"}'
    recorder = make_recorder(transport=Api(answer(200, body)).transport)
    recorder.record(point("a"))
    recorder.deliver()

    assert r'classification="a\"b\\c\nd"' in prometheus_text(recorder)


def test_an_outbox_that_refuses(busy):
    """
    When the outbox refuses, the process's own figures are still there, and a gauge says so.
    """
    busy.outbox.refuses = frozenset({"counts"})
    values = samples(prometheus_text(busy))

    assert values["remotion_usage_outbox_up"] == 0
    assert values["remotion_usage_paused"] == 1
    assert 'remotion_usage_points{state="pending"}' not in values


def test_metrics_app(busy):
    """
    Mounted in an app, the metrics are read with GET and HEAD, and with nothing else.
    """
    set_default_recorder(busy)
    client = TestClient(Starlette(routes=[Mount("/metrics", metrics_app())]))

    assert client.get("/metrics/").text.startswith("# HELP remotion_usage_")
    assert client.get("/metrics/").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert client.head("/metrics/").content == b""
    assert (client.post("/metrics/").status_code, client.post("/metrics/").headers["allow"]) == (405, "GET, HEAD")


def test_metrics_app_serves_http_only(busy):
    """
    Other connections are a mistake of the app's routes.
    """
    answered = exchange(metrics_app(busy), type="websocket")

    assert isinstance(answered.error, RuntimeError)


def test_open_telemetry(busy):
    """
    OpenTelemetry reads the same figures, one look at the outbox for all of them.
    """
    reader = InMemoryMetricReader()
    instrument(busy, meter_provider=MeterProvider([reader]))
    busy.outbox.calls.clear()
    data = reader.get_metrics_data()
    [scope] = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    values = {
        (metric.name, *sorted(each.attributes.values())): each.value
        for metric in scope.metrics
        for each in metric.data.data_points
    }

    assert scope.scope.name == "remotion_licensing_integrations"
    assert values["remotion.usage.points", "pending"] == 1
    assert values["remotion.usage.registered", "billable", "cloud-render"] == 1
    assert values["remotion.usage.paused",] == 1
    assert busy.outbox.calls == ["counts"]

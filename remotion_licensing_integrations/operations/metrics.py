"""
Metrics of a recorder, for Prometheus and OpenTelemetry; they are read when a scraper asks, and cost nothing before.

Gauges are of the outbox, so of all processes that share it; counters are of this process since its start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from .._support.version import VERSION
from ..errors import OutboxError
from ..outbox import State
from ..points import utc_now
from ..recording import ProcessCounts, RecorderCounts, UsageRecorder, default_recorder

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SAME_COLLECTION: Final = 1.0  # seconds in which the instruments of OpenTelemetry share one look

Labels = Mapping[str, str]
Values = Iterable[tuple[Labels, float]]


class Metric(NamedTuple):
    """
    One metric; OpenTelemetry calls it `remotion.usage.` and its name.
    """

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    means: str

    @property
    def prometheus_name(self) -> str:
        """
        The name as Prometheus writes it.
        """
        name = f"remotion_usage_{self.name}" + ("_seconds" if self.unit == "s" else "")
        return f"{name}_total" if self.kind == "counter" else name


METRICS: Final = (
    Metric("recorded", "counter", "{point}", "Usage points committed by this process."),
    Metric("attempts", "counter", "{attempt}", "Usage points sent to the licensing API by this process."),
    Metric("registered", "counter", "{point}", "Usage points registered by this process."),
    Metric("late", "counter", "{point}", "Usage points whose response did not wait for their commit."),
    Metric("logged", "counter", "{point}", "Usage points that only the log has."),
    Metric("hosts", "counter", "{point}", "Usage points by the source of their host."),
    Metric("waiting", "gauge", "{point}", "Usage points in the memory of this process, not committed yet."),
    Metric("paused", "gauge", "1", "1 while this process pauses delivery."),
    Metric("outbox_up", "gauge", "1", "1 when the outbox answers."),
    Metric("points", "gauge", "{point}", "Usage points in the outbox."),
    Metric("oldest_pending_age", "gauge", "s", "Age of the oldest pending usage point."),
    Metric("oldest_deferred_age", "gauge", "s", "Age of the oldest deferred usage point."),
    Metric("spilled", "gauge", "{point}", "Usage points of this machine that wait in the spill."),
)


def measure(recorder: UsageRecorder) -> Iterator[tuple[Metric, Values]]:
    """
    Return each metric with its values; when the outbox refuses, its own have none.
    """
    try:
        counts = recorder.counts()
        values = {**_of_process(counts), **_of_outbox(counts)}
    except OutboxError:
        values = _of_process(recorder.process_counts())
    return ((metric, values.get(metric.name, ())) for metric in METRICS)


def _of_process(counts: ProcessCounts) -> dict[str, Values]:
    return {
        "recorded": _by_event("outcome", counts.recorded),
        "attempts": _by_event("result", counts.attempts),
        "registered": _by_event("classification", counts.registered),
        "late": [({}, counts.late)],
        "logged": [({}, counts.logged)],
        "hosts": [({"source": source}, count) for source, count in counts.hosts.items()],
        "waiting": [({}, counts.waiting)],
        "paused": [({}, counts.paused is not None)],
        "outbox_up": [({}, isinstance(counts, RecorderCounts))],
    }


def _of_outbox(counts: RecorderCounts) -> dict[str, Values]:
    return {
        "points": [({"state": state.value}, getattr(counts.stored, state)) for state in State],
        "oldest_pending_age": _age(counts.stored.oldest_pending),
        "oldest_deferred_age": _age(counts.stored.oldest_deferred),
        "spilled": [({}, counts.spilled)],
    }


def _age(moment: datetime | None) -> Values:
    # Without a point there is no age: 0 would be the age of one that has just come.
    return [] if moment is None else [({}, max(0.0, (utc_now() - moment).total_seconds()))]


def _by_event(name: str, counts: Mapping[tuple[str, str], int]) -> Values:
    return [({"event": event, name: value}, count) for (event, value), count in counts.items()]


def prometheus_text(recorder: UsageRecorder | None = None) -> str:
    """
    Return the metrics of *recorder*, by default the process's, in the text format of Prometheus.

    It asks the outbox, so call it from a thread.
    """
    lines: list[str] = []
    for metric, values in measure(recorder or default_recorder()):
        name = metric.prometheus_name
        lines += [f"# HELP {name} {metric.means}", f"# TYPE {name} {metric.kind}"]
        lines += [f"{name}{_labels(labels)} {float(value):.15g}" for labels, value in values]
    return "\n".join([*lines, ""])


def _labels(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    # A classification comes from the licensing API.
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def metrics_app(recorder: UsageRecorder | None = None) -> Callable[..., Any]:
    """
    Return an ASGI app that answers with `prometheus_text`; mount it, for instance at `/metrics`.

    Everybody who may call it sees how much is converted: keep it from the public.
    """

    async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI's signature
        if scope["type"] != "http":
            msg = f"metrics_app serves HTTP, not {scope['type']}"
            raise RuntimeError(msg)
        is_read = scope["method"] in {"GET", "HEAD"}
        body = (await asyncio.to_thread(prometheus_text, recorder)).encode() if is_read else b""
        headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        headers += [] if is_read else [(b"allow", b"GET, HEAD")]
        await send({"type": "http.response.start", "status": 200 if is_read else 405, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


def instrument(recorder: UsageRecorder | None = None, *, meter_provider: MeterProvider | None = None) -> None:
    """
    Register the metrics of *recorder*, by default the process's, with OpenTelemetry; call it once in each process.

    Args:
        recorder: Whose metrics.
        meter_provider: Defaults to the global one.

    Raises:
        ImportError: The extra `otel` is not installed.
    """
    from opentelemetry import metrics  # noqa: PLC0415 - an extra

    meter = metrics.get_meter("remotion_licensing_integrations", VERSION, meter_provider)
    seen: dict[str, Values] = {}
    seen_at = 0.0

    def look(name: str, _: CallbackOptions) -> Iterable[Observation]:
        nonlocal seen_at
        now = time.monotonic()
        if not seen or now - seen_at > _SAME_COLLECTION:
            seen.update((metric.name, values) for metric, values in measure(recorder or default_recorder()))
            seen_at = now
        return [metrics.Observation(value, labels) for labels, value in seen[name]]

    for metric in METRICS:
        create = meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
        create(f"remotion.usage.{metric.name}", [partial(look, metric.name)], metric.unit, metric.means)

"""
OpenTelemetry's middleware, with spans that go nowhere, and none for the other view.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

os.environ["OTEL_PYTHON_DJANGO_EXCLUDED_URLS"] = "other"

from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

from . import Count, View


class Nowhere(SpanExporter):
    """
    Counts the spans.
    """

    count = 0

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """
        Take *spans*.
        """
        self.count += len(spans)
        return SpanExportResult.SUCCESS


def add(convert: View) -> tuple[View, Count]:
    """
    Instrument Django.
    """
    nowhere = Nowhere()
    processor, provider = BatchSpanProcessor(nowhere), TracerProvider()
    provider.add_span_processor(processor)
    DjangoInstrumentor().instrument(tracer_provider=provider)

    def count() -> int:
        processor.force_flush()
        return nowhere.count

    return convert, count

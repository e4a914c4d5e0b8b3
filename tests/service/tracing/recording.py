"""Spans of a service in this process, as an exporter is given them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, format_span_id, format_trace_id

from service.tracing.spans import Tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"


@dataclass(frozen=True)
class Recording:
    """Keeps every span that ends. A sampler is taken from the environment."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def tracing(self) -> Tracing:
        """Where a service sends its spans."""
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        return Tracing(provider)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """In the order in which they ended."""
        return self.exporter.get_finished_spans()

    @property
    def servers(self) -> list[ReadableSpan]:
        """Those of requests."""
        return [span for span in self.spans if span.kind is SpanKind.SERVER]

    @property
    def server(self) -> ReadableSpan:
        """That of the only request."""
        (found,) = self.servers
        return found

    def phases(self, of: ReadableSpan) -> dict[str, ReadableSpan]:
        """The spans below one, by name, each of which is there once."""
        below = [span for span in self.spans if span.parent and span.parent == context_of(of)]
        assert len({span.name for span in below}) == len(below)
        return {span.name: span for span in below}


def context_of(span: ReadableSpan) -> SpanContext:
    """What others know it by."""
    found = span.get_span_context()
    assert found is not None
    return found


def ids_of(span: ReadableSpan) -> tuple[str, str]:
    """Of its trace and its own, as they are written."""
    context = context_of(span)
    return format_trace_id(context.trace_id), format_span_id(context.span_id)

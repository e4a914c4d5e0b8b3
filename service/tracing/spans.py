"""Requests and their phases as spans of OpenTelemetry.

A phase is told when it is over, with the times that the metrics take as well; nothing is made the
current span, because nothing here asks for it. Times are those of `perf_counter`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from threading import Thread
from time import perf_counter, perf_counter_ns, time_ns

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.tracing.semantics import Attributes, Begun, Ended

SECONDS_OF_FAREWELL = 3.0
"""So long the end of the service waits for a collector that does not answer."""

_W3C = TraceContextTextMapPropagator()


class Tracing:
    """Where spans go.

    Args:
        provider: Of this service alone: MLflow and others have their own.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("anomaly", version("anomaly-vae"))

    def begin(
        self, begun: Begun, started: float, traceparent: str | None, tracestate: str = ""
    ) -> Trace:
        """The span of a request, below that of its caller, if there is one.

        Args:
            traceparent: Valid; see `service.wire.trace`.
            tracestate: What vendors say besides, as it was sent.
        """
        sent = {} if traceparent is None else {"traceparent": traceparent, "tracestate": tracestate}
        offset = time_ns() - perf_counter_ns()
        span = self._tracer.start_span(
            begun.name,
            _W3C.extract(sent, Context()),
            SpanKind.SERVER,
            begun.attributes,
            start_time=offset + _nanoseconds(started),
        )
        return Trace(self._tracer, span, offset)

    def batch(
        self,
        members: Sequence[tuple[Trace, float]],
        started: float,
        ended: float,
        attributes: Attributes,
    ) -> None:
        """Requests that were computed together: each waited, and has a span of the computation.
        From the second one on that is linked to the first one's.

        Args:
            members: Each with the time since which it waited.
        """
        first: SpanContext | None = None
        for trace, since in members:
            trace.phase("queue", since, started)
            links = () if first is None else (Link(first),)
            forward = trace.phase("forward", started, ended, attributes, links)
            first = first or forward

    def close(self) -> None:
        """Send what is left."""
        closing = Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(SECONDS_OF_FAREWELL)


class Trace:
    """The span of one request.

    Attributes:
        trace_id, span_id: As they are written, in hexadecimal.
    """

    def __init__(self, tracer: Tracer, span: Span, offset: int) -> None:
        self._tracer = tracer
        self._span = span
        self._within = set_span_in_context(span, Context())
        self._offset = offset
        self.trace_id = format_trace_id(span.get_span_context().trace_id)
        self.span_id = format_span_id(span.get_span_context().span_id)

    def phase(
        self,
        name: str,
        started: float,
        ended: float,
        attributes: Attributes | None = None,
        links: Sequence[Link] = (),
    ) -> SpanContext | None:
        """A part of the request that is over; None where the request is not sampled."""
        if not self._span.is_recording():
            return None
        span = self._tracer.start_span(
            name,
            self._within,
            attributes=attributes,
            links=links,
            start_time=self._offset + _nanoseconds(started),
        )
        span.end(self._offset + _nanoseconds(ended))
        return span.get_span_context()

    def end(self, ended: Ended) -> None:
        """The request is answered."""
        self._span.set_attributes(ended.attributes)
        if ended.fault is not None:
            self._span.set_attribute("error.type", ended.fault)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(self._offset + _nanoseconds(perf_counter()))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)

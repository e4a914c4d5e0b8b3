"""A collector: takes in what exporters send over OTLP, as protobuf over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Collector:
    """Where it listens, and what came."""

    url: str
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    @property
    def service_names(self) -> set[str]:
        """What those who sent something call themselves."""
        return {
            str(attributes_of(part.resource)["service.name"])
            for request in self.requests
            for part in request.resource_spans
        }

    @property
    def spans(self) -> list[Span]:
        """All of them."""
        return [
            span
            for request in self.requests
            for part in request.resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]

    @property
    def servers(self) -> list[Span]:
        """Those of requests."""
        return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]

    def below(self, parent: Span) -> list[str]:
        """The names of the spans of its phases."""
        return [span.name for span in self.spans if span.parent_span_id == parent.span_id]


def attributes_of(message: Any) -> dict[str, str | int]:
    """Of a span or a resource."""
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value")) for item in message.attributes
    }


@contextmanager
def collecting() -> Iterator[Collector]:
    """Listen until the end of the context."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.paths.add(self.path)
            collector.requests.append(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()

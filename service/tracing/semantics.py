"""What a span is called and says, in the words of OpenTelemetry's semantic conventions.

No value comes from a body, and none from a header but the request id; `tracestate` is passed on as
it was sent.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Attributes: TypeAlias = dict[str, str | int]

METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)

SERVER_ERROR = 500

FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""Codes of gRPC that are no fault of the caller's."""


class Begun(NamedTuple):
    """What is known of a request when it begins."""

    name: str
    attributes: Attributes


class Ended(NamedTuple):
    """What is known at its end.

    Attributes:
        fault: The kind of error, if it is the service's own.
    """

    attributes: Attributes
    fault: str | None


def http_begun(
    method: str, template: str, *, path: str, scheme: str, version: str, request_id: str
) -> Begun:
    """A request over HTTP.

    Args:
        template: Of the route.
        path: One of those that there are, never one that a caller made up.
    """
    is_known = method in METHODS
    attributes: Attributes = {
        "http.request.method": method if is_known else "_OTHER",
        "http.route": template,
        "url.path": path,
        "url.scheme": scheme,
        "network.protocol.version": version,
        "anomaly.request_id": request_id,
    }
    return Begun(f"{method if is_known else 'HTTP'} {template}", attributes)


def http_ended(status: int, body_bytes: int) -> Ended:
    """Status 0 is that of a request that was given up before it had one."""
    attributes: Attributes = {"http.request.body.size": body_bytes}
    if not status:
        return Ended(attributes, "cancelled")
    attributes["http.response.status_code"] = status
    return Ended(attributes, str(status) if status >= SERVER_ERROR else None)


def rpc_begun(service: str, method: str, *, request_id: str) -> Begun:
    """A call of gRPC."""
    attributes: Attributes = {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "anomaly.request_id": request_id,
    }
    return Begun(f"{service}/{method}", attributes)


def rpc_ended(code: str, number: int) -> Ended:
    """Of a call that ended with that status."""
    return Ended({"rpc.grpc.status_code": number}, code if code in FAULTS else None)

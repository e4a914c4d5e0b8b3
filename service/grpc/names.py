"""What names a call, in the metadata that it comes with and in those of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.logs import Request
from service.wire.own_headers import request_of

TRACESTATE = "tracestate"
_NAMES = ("x-request-id", "traceparent")


def names_of(metadata: Mapping[str, Any]) -> Request:
    """As of a request over HTTP, which has headers for them."""
    sent = {name: str(metadata[name]) for name in _NAMES if name in metadata}
    return request_of({name.encode(): value.encode() for name, value in sent.items()})


def told(names: Request) -> tuple[tuple[str, str], ...]:
    """The same, for the metadata that follow every answer and every refusal."""
    values = (names.request_id, names.traceparent)
    return tuple((name, value) for name, value in zip(_NAMES, values, strict=True) if value)

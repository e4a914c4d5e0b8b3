"""The log of the service: one JSON object a line on stderr, or text for a person at a terminal.

Whoever logs uses the standard `logging`; what libraries log goes the same way. Nothing that was
sent in a body is written: of an exception only its type and where it came from, not its message,
which may repeat a value.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import EventDict, Processor

if TYPE_CHECKING:
    from service.tracing.spans import Trace

LOGGER = "service"
"""The name of the service's own logger."""

LONGEST = 2_000
"""Characters of one value."""

DEEPEST = 20
"""Frames of one exception, the innermost ones."""

FIELDS = (
    "model",
    "version",
    "digest",
    "handler",
    "method",
    "status",
    "grpc_code",
    "seconds",
    "body_bytes",
)
"""What may be given as `extra`; anything else is left out."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class LogFormat(StrEnum):
    """How lines look.

    Attributes:
        AUTO: As text where stderr is a terminal, as JSON elsewhere.
    """

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Request:
    """What names the request that is being answered.

    Attributes:
        traceparent: Of the caller, if it sent one that is valid.
        trace: What has its spans; None where there are none.
    """

    request_id: str
    traceparent: str | None
    trace: Trace | None = None


REQUEST: ContextVar[Request | None] = ContextVar("request", default=None)
"""Set by the edge; what is logged on behalf of a request carries its names."""


def configure(style: LogFormat) -> None:
    """Send every log of this process to stderr. To be called before MLflow is imported, which
    would set up a log of its own."""
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(style, is_terminal=sys.stderr.isatty()))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(LOGGER).setLevel(logging.INFO)
    logging.captureWarnings(True)


def formatter(style: LogFormat, *, is_terminal: bool = False) -> logging.Formatter:
    """Makes a line of a record."""
    is_text = style is LogFormat.CONSOLE or (style is LogFormat.AUTO and is_terminal)
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=is_terminal)
        if is_text
        else structlog.processors.JSONRenderer()
    )
    return ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_log_level,
            add_logger_name,
            ExtraAdder(allow=FIELDS),
            add_request,
            shorten,
            add_exception,
        ],
        processors=[ProcessorFormatter.remove_processors_meta, renderer],
    )


def answered(handler: str, method: str, status: int, seconds: float, body_bytes: int) -> None:
    """Log a request; `handler` is a route template, never the path that was sent."""
    logging.getLogger(LOGGER).info(
        "answered",
        extra={
            "handler": handler,
            "method": method,
            "status": status,
            "seconds": round(seconds, 6),
            "body_bytes": body_bytes,
        },
    )


def call_answered(handler: str, grpc_code: str, seconds: float, body_bytes: int) -> None:
    """Log a call of gRPC; `handler` is the path of a method that there is."""
    logging.getLogger(LOGGER).info(
        "answered",
        extra={
            "handler": handler,
            "grpc_code": grpc_code,
            "seconds": round(seconds, 6),
            "body_bytes": body_bytes,
        },
    )


def add_request(_: Any, __: str, event: EventDict) -> EventDict:
    """Which request this is about."""
    request = REQUEST.get()
    if request is not None:
        event["request_id"] = request.request_id
        if request.traceparent is not None:
            _, event["trace_id"], event["parent_id"], _ = request.traceparent.split("-")
        if request.trace is not None:
            event["trace_id"], event["span_id"] = request.trace.trace_id, request.trace.span_id
    return event


def shorten(_: Any, __: str, event: EventDict) -> EventDict:
    """No value is long, and none can move the cursor or begin a line."""
    if event["logger"] == "asyncio":
        # Its further lines show objects, and in them the messages of exceptions.
        event["event"] = event["event"].partition("\n")[0]
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _CONTROL.sub(" ", cut(value))
    return event


def cut(text: str) -> str:
    """The text, or its beginning and how long it was."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def add_exception(_: Any, __: str, event: EventDict) -> EventDict:
    """Type and place of an exception, and of those that led to it."""
    found = event.pop("exc_info", None)
    if isinstance(found, tuple) and found[1] is not None:
        event["exception"] = place_of(found[1])
    return event


def place_of(error: BaseException) -> str:
    """As Python prints it, without messages: the cause first."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(parts) < DEEPEST:
        frames = traceback.format_tb(seen.__traceback__, limit=-DEEPEST)
        kind = f"{type(seen).__module__}.{type(seen).__qualname__}".removeprefix("builtins.")
        parts.insert(0, f"{''.join(frames)}{kind}")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n\nled to\n\n".join(parts)

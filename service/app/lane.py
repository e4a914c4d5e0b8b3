"""The part of answering usual score requests that knows what they mean."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastapi import Response

from anomaly.errors import AnomalyError
from service.access.gate import Gate
from service.batcher import Overloaded
from service.logs import Request, answered
from service.routes.body import JSON_TYPE
from service.routes.formats import USUAL
from service.routes.problems import logged, response_to
from service.scoring.compute import Result
from service.scoring.memory import Share
from service.scoring.tables import LARGE_BODY_BYTES, Tables
from service.tracing.semantics import http_begun, http_ended
from service.wire.own_headers import Headers, request_of
from service.wire.request import ScoreRequest

if TYPE_CHECKING:
    from service.tracing.spans import Tracing

ADMITTED = "admitted"
"""In the state of a request: its key has been looked at, and counted."""

HEADERS: Headers = [(b"content-type", JSON_TYPE.encode("ascii"))]
"""Of the answers."""

CONTENT_TYPES = frozenset({b"application/json", b"application/json; charset=utf-8"})


@dataclass(slots=True)
class Passenger:
    """A request that waits for its scores.

    Attributes:
        share: Of the memory that all requests have together.
    """

    request: ScoreRequest
    names: Request
    body_bytes: int
    share: Share
    future: asyncio.Future[Result]


class Lane:
    """Takes the usual requests to one detector of tables; says nothing of the others.

    Args:
        template: Of the path, the label of the metrics.
    """

    def __init__(self, tables: Tables, gate: Gate | None, path: str, template: str) -> None:
        self._tables = tables
        self._gate = gate
        self._path = path
        self._template = template
        self._scoring = frozenset({path})
        self._tracing = tables.scorer.common.tracing

    @property
    def is_draining(self) -> bool:
        """Whether connections are to end with their answers."""
        return self._tables.scorer.common.draining

    def enter(
        self, headers: Mapping[bytes, bytes], body: bytes, state: dict[str, Any], started: float
    ) -> Passenger | None:
        """Have the request scored, or None if anything about it is unusual.

        Args:
            headers: By their names in lower case.
            state: Of the request; learns that the key has been looked at.
            started: When it was complete, by `perf_counter`.
        """
        scorer = self._tables.scorer
        if (
            headers.get(b"content-type") not in CONTENT_TYPES
            or headers.get(b"accept") not in USUAL
            or len(body) > LARGE_BODY_BYTES
            or not scorer.is_ready
        ):
            return None
        try:
            if self._gate is not None:
                given = headers.get(b"authorization", b"").decode("latin-1")
                self._gate.check(self._path, given, self._scoring)
                state[ADMITTED] = True
            return self._seated(headers, body, started)
        except AnomalyError:
            # It will be said again, by what says it to everyone.
            return None

    def answer(self, passenger: Passenger, result: Result, request_id: str) -> bytes:
        """The JSON of the answer."""
        return self._tables.encoded(passenger.request, result, request_id)

    def refusal(self, passenger: Passenger, error: Exception, request_id: str) -> Response:
        """What is said instead of an answer."""
        if isinstance(error, Overloaded):
            self._tables.metrics.rows_rejected({error.code: passenger.request.n_rows})
        return logged(response_to(error, request_id), error, request_id)

    def leave(self, passenger: Passenger, status: int, seconds: float) -> None:
        """Count the request and end its span, and hold nothing of it any more."""
        passenger.share.release()
        told = (self._template, "POST", status, seconds, passenger.body_bytes)
        self._tables.scorer.common.metrics.request_answered(*told)
        if self._tables.settings.access_log:
            answered(*told)
        if (trace := passenger.names.trace) is not None:
            trace.end(http_ended(status, passenger.body_bytes))

    def _seated(
        self, headers: Mapping[bytes, bytes], body: bytes, started: float
    ) -> Passenger | None:
        parsing = perf_counter()
        request = self._tables.usual(body)
        if request is None:
            return None
        parsed = perf_counter()
        self._tables.metrics.phase("decode", parsed - parsing)
        names = request_of(headers)
        if self._tracing is not None:
            names = self._traced(self._tracing, names, headers, started)
        share = self._tables.scorer.memory.share()
        try:
            share.take(len(body))
            future = self._tables.enqueue(request, names.trace)
        except AnomalyError:
            share.release()
            raise
        if names.trace is not None:
            names.trace.phase("decode", parsing, parsed)
        return Passenger(request, names, len(body), share, future)

    def _traced(
        self, tracing: Tracing, names: Request, headers: Mapping[bytes, bytes], started: float
    ) -> Request:
        """With a span, which is never told if the request does not depart."""
        begun = http_begun(
            "POST",
            self._template,
            path=self._path,
            scheme="http",
            version="1.1",
            request_id=names.request_id,
        )
        tracestate = headers.get(b"tracestate", b"").decode("latin-1")
        return replace(names, trace=tracing.begin(begun, started, names.traceparent, tracestate))

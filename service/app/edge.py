"""The outermost layer of the application: what holds for every request and every answer.

Each answer carries a request id; each refusal, whoever made it, is a problem document; each
request is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.gate import Gate
from service.app.lane import ADMITTED, Lane
from service.logs import REQUEST, answered
from service.metrics import NO_HANDLER
from service.routes import SCORE_PATH, SCORE_TEMPLATE
from service.routes.body import Direct, Post
from service.routes.inference_errors import as_told_at
from service.routes.problems import MEDIA_TYPE, logged, response_for, response_to
from service.scoring.images import Images
from service.scoring.scorer import Scorer
from service.scoring.tables import Tables
from service.tracing.semantics import http_begun, http_ended
from service.wire.own_headers import Headers, own_headers, request_of

if TYPE_CHECKING:
    from service.tracing.spans import Tracing

KEPT_HEADERS = ("allow", "content-range", "retry-after")
"""Of an answer of the framework's that is replaced by a problem document."""

CLIENT_GONE = "the client has gone"
"""With this message the task of a request, `scope["state"]["task"]`, may be cancelled."""
CLIENT_CLOSED_REQUEST = 499
"""In the metrics, where nobody was left to be answered; nginx's number for it."""


class Edge:
    """Pure ASGI, because a layer of the framework's own kind would cost more than a small model.

    Attributes:
        app: The framework, with all its routes.
        requests: What answers to them, with its queue.
        direct: By path, what answers without it.
        scoring: Those paths that score.
        gate: Whom it lets pass; None lets everyone.
        tracing: Where the spans of requests that score go.
        lanes: By URL, what answers usual score requests sooner; see `service.app.express`.
    """

    def __init__(
        self,
        app: ASGIApp,
        requests: Tables | Images,
        direct: Mapping[str, Direct],
        gate: Gate | None = None,
    ) -> None:
        self.app = app
        self.requests = requests
        self.direct = direct
        self.scoring = frozenset(path for path, way in direct.items() if way.scores)
        self.gate = gate
        self.tracing = requests.scorer.common.tracing
        self.lanes = lanes_of(requests, gate) if isinstance(requests, Tables) else {}

    @property
    def scorer(self) -> Scorer[Any, Any]:
        """Of the requests."""
        return self.requests.scorer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self.scorer)
        if self.tracing is not None and scope["path"] in self.scoring:
            exchange.trace(self.tracing, self.direct[scope["path"]].template)
        try:
            if self.gate is not None and ADMITTED not in scope["state"]:
                given = exchange.headers.get(b"authorization", b"").decode("latin-1")
                self.gate.check(scope["path"], given, self.scoring)
            direct = self.direct.get(scope["path"])
            if direct is None:
                await self.app(scope, exchange.receive, exchange.send)
            else:
                await exchange.post(direct)
        except Exception as error:
            await exchange.fail(error)
        except asyncio.CancelledError as error:
            if error.args != (CLIENT_GONE,):
                raise
            exchange.status = CLIENT_CLOSED_REQUEST
        finally:
            exchange.count()


def lanes_of(tables: Tables, gate: Gate | None) -> dict[bytes, Lane]:
    """By URL, as it is usually sent."""
    own = SCORE_TEMPLATE.format(name=tables.scorer.model.name)
    return {
        quote(path).encode("ascii"): Lane(tables, gate, path, template)
        for path, template in ((SCORE_PATH, SCORE_PATH), (own, SCORE_TEMPLATE))
    }


class Exchange:
    """One request and its answer, on the way through.

    Attributes:
        handler: The template of the route, where it is known beforehand.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, scorer: Scorer[Any, Any]
    ) -> None:
        self.started = perf_counter()
        self.scope = scope
        self.scorer = scorer
        self.handler: str | None = None
        self.status = 0
        self.body_bytes = 0
        # The first of each name counts.
        self.headers = dict(reversed(scope["headers"]))
        length = self.headers.get(b"content-length", b"0")
        self.declared_bytes = int(length[:20]) if length.isdigit() else 0
        self.body_pending = length != b"0" or b"transfer-encoding" in self.headers
        self.names = request_of(self.headers)
        REQUEST.set(self.names)
        self.request_id = self.names.request_id
        scope.setdefault("state", {}).update(
            request_id=self.request_id, scorer=scorer, task=asyncio.current_task()
        )
        self._receive = receive
        self._send = send
        self._replaced = False

    def trace(self, tracing: Tracing, template: str) -> None:
        """Give it a span, under which the log will have it, too."""
        begun = http_begun(
            self.scope["method"],
            template,
            path=self.scope["path"],
            scheme=self.scope["scheme"],
            version=self.scope["http_version"],
            request_id=self.request_id,
        )
        tracestate = self.headers.get(b"tracestate", b"").decode("latin-1")
        trace = tracing.begin(begun, self.started, self.names.traceparent, tracestate)
        self.names = replace(self.names, trace=trace)
        REQUEST.set(self.names)

    async def receive(self) -> Message:
        """What the application receives, counted."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.body_bytes += len(message.get("body", b""))
            self.body_pending = message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """What the application sends; a refusal that is no problem document becomes one."""
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            foreign = not headers.get("content-type", "").startswith(MEDIA_TYPE)
            if message["status"] >= HTTPStatus.BAD_REQUEST and foreign:
                self._replaced = True
                await self._replace(HTTPStatus(message["status"]), headers)
                return
            self.status = message["status"]
            headers.raw.extend(self._own_headers())
        await self._send(message)

    async def post(self, direct: Direct) -> None:
        """Have it answered without the framework."""
        self.handler = direct.template
        if self.scope["method"] != direct.method:
            refusal = response_for(HTTPStatus.METHOD_NOT_ALLOWED, self.request_id)
            refusal.headers["allow"] = direct.method
            await self.answer(refusal)
            return
        if direct.scores:
            self.scorer.admission.expect(self.declared_bytes)
        reply = await direct.endpoint(
            Post(self.receive, self.scope["query_string"], self.request_id, self.headers)
        )
        length, kind = str(len(reply.body)).encode("ascii"), reply.media_type.encode("ascii")
        headers = [(b"content-length", length), (b"content-type", kind), *reply.headers]
        await self._answer(HTTPStatus.OK.value, headers, reply.body)

    async def answer(self, response: Response) -> None:
        """Send a refusal."""
        response = as_told_at(self.scope["path"], response)
        await self._answer(response.status_code, response.raw_headers, bytes(response.body))

    async def fail(self, error: Exception) -> None:
        """Answer with the problem that an error is."""
        response = logged(response_to(error, self.request_id), error, self.request_id)
        if self._replaced:
            return  # The framework gave an answer before it passed the error on.
        if self.status:
            # Half an answer is out: ending the connection is all that is left to say.
            raise error
        await self.answer(response)

    def count(self) -> None:
        """Add the request to the metrics, and to log and traces if that was asked for."""
        handler = self.handler or str(getattr(self.scope.get("route"), "path", NO_HANDLER))
        method, seconds = self.scope["method"], perf_counter() - self.started
        self.scorer.common.metrics.request_answered(
            handler, method, self.status, seconds, self.body_bytes
        )
        if self.scorer.common.settings.access_log:
            answered(handler, method, self.status, seconds, self.body_bytes)
        if self.names.trace is not None:
            self.names.trace.end(http_ended(self.status, self.body_bytes))

    async def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        headers = [*headers, *self._own_headers()]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _replace(self, status: HTTPStatus, headers: MutableHeaders) -> None:
        response = response_for(status, self.request_id)
        for name in KEPT_HEADERS:
            if name in headers:
                response.headers[name] = headers[name]
        await self.answer(response)

    def _own_headers(self) -> Headers:
        unread = self.body_pending and self.status >= HTTPStatus.BAD_REQUEST
        closing = self.scorer.common.draining or (unread and not self._rest_is_short())
        return own_headers(self.names, closing=closing)

    def _rest_is_short(self) -> bool:
        """Whether the server may as well take in the rest of a body that nobody will read: to close
        a connection on which bytes arrive may take the answer from the client."""
        most = self.scorer.settings.limits.body_bytes
        is_sending = b"expect" not in self.headers and self.status != HTTPStatus.REQUEST_TIMEOUT
        return is_sending and 0 < self.declared_bytes <= most

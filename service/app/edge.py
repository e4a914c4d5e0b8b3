"""The outermost layer of the application: what holds for every request and every answer.

Each answer carries a request id; each refusal, whoever made it, is a problem document; each
request is counted.
"""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from time import perf_counter
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import NO_HANDLER
from service.routes.problems import MEDIA_TYPE, response_for, response_to
from service.scoring.scorer import Scorer

log = logging.getLogger("service")

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
KEPT_HEADERS = ("allow", "content-range", "retry-after")
"""Of an answer of the framework's that is replaced by a problem document."""


class Edge:
    """Pure ASGI, because a layer of the framework's own kind would cost more than a small model."""

    def __init__(self, app: ASGIApp, scorer: Scorer[Any, Any]) -> None:
        self.app = app
        self.scorer = scorer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self.scorer)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except Exception as error:
            await exchange.fail(error)
        finally:
            exchange.count()


class Exchange:
    """One request and its answer, on the way through."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, scorer: Scorer[Any, Any]
    ) -> None:
        self.started = perf_counter()
        self.scope = scope
        self.scorer = scorer
        self.status = 0
        self.body_bytes = 0
        headers = Headers(scope=scope)
        self.body_pending = (
            headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        )
        given = headers.get("x-request-id", "")
        self.request_id = given if _SANE_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = self.request_id
        self._receive = receive
        self._send = send
        self._replaced = False

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
            self._add_headers(headers)
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        """Answer with the problem that an error is."""
        response = response_to(error, self.request_id)
        if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("request %s failed", self.request_id, exc_info=error)
        if self.status or self._replaced:
            # Half an answer is out: ending the connection is all that is left to say.
            raise error
        await response(self.scope, self.receive, self.send)

    def count(self) -> None:
        """Add the request to the metrics."""
        self.scorer.metrics.request_answered(
            getattr(self.scope.get("route"), "path", NO_HANDLER),
            self.scope["method"],
            self.status,
            perf_counter() - self.started,
            self.body_bytes,
        )

    async def _replace(self, status: HTTPStatus, headers: MutableHeaders) -> None:
        response = response_for(status, self.request_id)
        for name in KEPT_HEADERS:
            if name in headers:
                response.headers[name] = headers[name]
        self.status = status
        self._add_headers(response.headers)
        await response(self.scope, self.receive, self._send)

    def _add_headers(self, headers: MutableHeaders) -> None:
        headers["x-request-id"] = self.request_id
        headers["x-content-type-options"] = "nosniff"
        # The rest of a body that nobody will read must not keep the connection.
        if self.scorer.draining or (self.body_pending and self.status >= HTTPStatus.BAD_REQUEST):
            headers["connection"] = "close"

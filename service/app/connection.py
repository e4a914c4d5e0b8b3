"""One connection: its limits before a request is understood, and its end while one waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.app.edge import CLIENT_GONE
from service.app.express import ExpressHttp
from service.routes.problems import MEDIA_TYPE
from service.settings import Limits
from service.wire.answer import JSON, Problem


class GuardedHttp(ExpressHttp):
    """HTTP/1.1, with the limits on headers that uvicorn does not have.

    Without them one client can fill the memory with a header that never ends, and a few hundred
    can hold every connection by sending a byte a minute. And a request whose client has gone is
    given up, which uvicorn tells only those who ask.
    """

    limits = Limits()
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._requests = 0
        self._in_body = False
        self._begin_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._requests += 1
        self._begin_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()
        if self.cycle.response_complete:
            # The connection is idle from now on, which uvicorn forgets.
            self._close_after(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete:
            # A refusal, and the rest of what it refuses is on its way.
            self._close_after(self.limits.body_seconds)

    def data_received(self, data: bytes) -> None:
        begun = self._requests
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            # A chunk may hold the rest of the request before: that is not part of this head.
            is_shared = begun and self._requests > begun
            self._head_bytes += 0 if is_shared else len(data)
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "head_too_large",
                    f"the headers are longer than {self.limits.head_bytes:,} bytes.",
                )

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        if not isinstance(self.cycle, RequestResponseCycle) or self.cycle.response_complete:
            return
        if (task := self.cycle.scope["state"].get("task")) is not None:
            task.cancel(CLIENT_GONE)

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what is not HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "http_invalid", "this is not a valid HTTP request.")

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._time(self.limits.head_seconds, self._head_too_slow)

    def _close_after(self, seconds: float) -> None:
        self._time(seconds, self.timeout_keep_alive_handler)

    def _time(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    @property
    def _is_answering(self) -> bool:
        """Whether requests before the one that arrives wait for their answers."""
        return self.cycle is not None and not (self.cycle.response_complete or self._in_body)

    def _head_too_slow(self) -> None:
        if self._is_answering:
            # Perhaps it is complete, and not read: uvicorn reads no further than one request ahead.
            self._time(self.limits.head_seconds, self._head_too_slow)
        elif not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                "head_too_slow",
                f"the headers were not complete within {self.limits.head_seconds:g} seconds.",
            )

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        if self._is_answering:
            # This would be taken for the answer to a request before; so the last of those ends it.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        body = JSON.encode(Problem("about:blank", status.phrase, status, code, detail, "", []))
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._in_head = False
        self._stop_timer()
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()


def guarded_by(limits: Limits) -> type[GuardedHttp]:
    """The protocol with these limits; uvicorn takes a class and makes one for each connection."""
    return type("GuardedHttpWithLimits", (GuardedHttp,), {"limits": limits})

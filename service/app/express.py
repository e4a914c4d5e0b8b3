"""Usual score requests, answered without a task of their own.

A request that is complete in one read, asks for nothing unusual and has nothing wrong goes from the
parser of HTTP straight to the queue, and its answer is written in one go. Everything else is handed
to the application as if nothing had happened, so whatever is refused is refused there.
"""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.app.edge import CLIENT_CLOSED_REQUEST
from service.app.lane import HEADERS, Lane, Passenger
from service.logs import REQUEST
from service.scoring.compute import Result
from service.wire.own_headers import Headers, own_headers

ODD_HEADERS = frozenset({b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"})
"""Whatever they ask for, the application knows."""


class Ride:
    """One request on its way, in the place where uvicorn keeps its own record of one.

    Attributes:
        keep_alive: Whether the connection stays; uvicorn takes it back when it stops.
        disconnected, response_complete: As uvicorn sets and reads them.
    """

    def __init__(self, passenger: Passenger, started: float, keep_alive: bool) -> None:
        self.passenger = passenger
        self.names = passenger.names
        self.request_id = passenger.names.request_id
        self.started = started
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    @property
    def message_event(self) -> Ride:
        """What uvicorn sets when something has happened to the connection."""
        return self

    def set(self) -> None:
        """Rows that nobody waits for any more are not scored."""
        if self.disconnected:
            self.passenger.future.cancel()


class Lanes(Protocol):
    """An application that knows which paths can be answered this way."""

    def lane(self, url: bytes) -> Lane | None:
        """The lane of a path, as it was sent."""


class ExpressHttp(HttpToolsProtocol):
    """HTTP/1.1, with a lane for the usual score request."""

    app: Lanes
    _lane: Lane | None = None
    """Of the request whose body is being read."""

    _body = b""

    def on_headers_complete(self) -> None:
        if (lane := self._open_lane()) is None:
            super().on_headers_complete()
        else:
            self._lane, self._body = lane, b""

    def on_body(self, body: bytes) -> None:
        if self._lane is None:
            super().on_body(body)
        else:
            self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            if self._depart(lane):
                return
            self._begin_ordinary()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._lane is not None:
            self._lane = None
            if not self.transport.is_closing():
                # The rest is still to come, and may come slowly.
                self._begin_ordinary()

    def _open_lane(self) -> Lane | None:
        is_free = self.cycle is None or self.cycle.response_complete
        if not is_free or self.parser.get_method() != b"POST":
            return None
        lane = self.app.lane(self.url)
        return lane if lane is not None and self.parser.get_http_version() == "1.1" else None

    def _begin_ordinary(self) -> None:
        super().on_headers_complete()
        if self._body:
            super().on_body(self._body)

    def _depart(self, lane: Lane) -> bool:
        """Whether the request is on its way to the queue."""
        started = perf_counter()
        # The first of each name counts.
        headers = dict(reversed(self.headers))
        if not ODD_HEADERS.isdisjoint(headers):
            return False
        passenger = lane.enter(headers, self._body, self.scope["state"], started)
        if passenger is None:
            return False
        ride = Ride(passenger, started, self.parser.should_keep_alive())
        self.cycle = ride  # type: ignore[assignment]
        passenger.future.add_done_callback(partial(self._arrive, lane, ride))
        return True

    def _arrive(self, lane: Lane, ride: Ride, future: asyncio.Future[Result]) -> None:
        """Write the answer, and go on with what came meanwhile."""
        REQUEST.set(ride.names)
        status, headers, body = HTTPStatus.OK.value, HEADERS, b""
        try:
            if ride.disconnected:
                status = CLIENT_CLOSED_REQUEST
            else:
                body = lane.answer(ride.passenger, future.result(), ride.request_id)
        except Exception as error:
            response = lane.refusal(ride.passenger, error, ride.request_id)
            status, body = response.status_code, bytes(response.body)
            headers = [item for item in response.raw_headers if item[0] != b"content-length"]
        ride.response_complete = True
        lane.leave(ride.passenger, status, perf_counter() - ride.started)
        if not ride.disconnected:
            closing = not ride.keep_alive or lane.is_draining
            self._write(status, [*headers, *own_headers(ride.names, closing=closing)], body)
            if closing:
                self.transport.close()
        self.on_response_complete()

    def _write(self, status: int, headers: Headers, body: bytes) -> None:
        head = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            head += (name, b": ", value, b"\r\n")
        head += (b"content-length: ", b"%d" % len(body), b"\r\n\r\n", body)
        self.transport.write(b"".join(head))

"""A service that listens in this process, where a test can see which way a request went."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from service.app.edge import Edge
from service.app.server import Server
from service.app.switch import Switch
from service.detectors import Served
from service.origin import Opened
from service.settings import Settings
from service.tracing.spans import Tracing


class Counted:
    """An application that tells how often it was asked.

    Attributes:
        asked: So often; usual requests pass it by.
    """

    def __init__(self, app: Edge) -> None:
        self._app = app
        self.asked = 0

    async def __call__(self, *arguments: Any) -> None:
        self.asked += 1
        await self._app(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)


@dataclass(frozen=True)
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Listening:
    """The service, and the number of requests that its application was asked."""

    server: Server
    switch: Switch
    app: Counted

    def connect(self) -> socket.socket:
        """A connection on which nothing is delayed."""
        parts = urlsplit(self.server.url)
        connection = socket.create_connection((parts.hostname, parts.port or 0), timeout=20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def exchange(self, *chunks: bytes) -> Answer:
        """Send the chunks one by one, and read one answer."""
        with self.connect() as connection:
            send(connection, *chunks)
            return read_answer(connection)


@contextmanager
def listening(
    served: Served, tracing: Tracing | None = None, **settings: Any
) -> Iterator[Listening]:
    """Serve in another thread until the end of the context."""
    options = {"models": ["numbers"], "port": 0, "metrics_port": 0, "drain_seconds": 0, **settings}
    server = Server(Settings(**options), [Opened(served, None, False)], tracing)
    switch = server.models.of("/v1/score")
    app = Counted(switch.current)
    switch.current = cast("Edge", app)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Listening(server, switch, app)
    finally:
        server._server.should_exit = True
        thread.join()


def send(connection: socket.socket, *chunks: bytes) -> None:
    """One by one, so that each is read by itself."""
    for number, chunk in enumerate(chunks):
        if number:
            time.sleep(0.03)
        connection.sendall(chunk)


def read_answer(connection: socket.socket) -> Answer:
    """The next answer on the connection; its length is always said."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(1)
        assert chunk, received
        received += chunk
    status, *lines = received.decode("latin-1").split("\r\n")[:-2]
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name not in headers
        headers[name] = value
    body = b""
    while len(body) < int(headers["content-length"]):
        body += connection.recv(int(headers["content-length"]) - len(body))
    return Answer(int(status.split()[1]), headers, body)

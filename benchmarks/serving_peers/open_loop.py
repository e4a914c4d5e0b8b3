"""Load that arrives at a fixed rate, whether or not answers come: what overload is made of.

A closed loop waits for the server and so can never ask for more than it gives. Here a request is
sent when it is due, on a connection that is free or on a new one, and its time counts from when it
was due, so that a generator that lags cannot hide anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

HOST = "127.0.0.1"
MOST_CONNECTIONS = 1000
IDLE_SECONDS = 2
"""A connection that nobody has used for longer is not used again: a server may be closing it."""

PROBE_SECONDS = 0.1
PATIENCE_SECONDS = 30
"""After the last request, before what has no answer is called lost."""


@dataclass(slots=True)
class Call:
    """One request, and what came of it.

    Attributes:
        number: Of the message.
        due: When it was to be sent, on the clock of `perf_counter`.
        sent: When it was.
        status: Of the answer; 0 if there was none.
        seconds: From due to the end of the answer.
        head: Of the answer, in lower case.
    """

    number: int
    due: float
    sent: float = 0.0
    status: int = 0
    seconds: float = 0.0
    head: bytes = b""
    body: bytes = b""


@dataclass(eq=False)
class Loop:
    """The connections to one server."""

    port: int
    idle: deque[Caller] = field(default_factory=deque)
    open: int = 0
    pending: int = 0

    async def send(self, call: Call, message: bytes) -> None:
        """Send it on a connection that is free; the answer comes later."""
        self.pending += 1
        while self.idle:
            caller = self.idle.pop()
            if perf_counter() - caller.idle_since > IDLE_SECONDS:
                caller.transport.close()
            elif not caller.transport.is_closing():
                caller.ask(call, message)
                return
        if self.open >= MOST_CONNECTIONS:
            self.pending -= 1
            return
        self.open += 1
        try:
            loop = asyncio.get_running_loop()
            _, caller = await loop.create_connection(lambda: Caller(self), HOST, self.port)
        except OSError:
            self.open -= 1
            self.pending -= 1
            return
        caller.ask(call, message)


class Caller(asyncio.Protocol):
    """One connection: a request, its answer, and then the next."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._call: Call | None = None
        self._received = bytearray()
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, call: Call, message: bytes) -> None:
        """Send a request; the one before has its answer."""
        self._call = call
        call.sent = perf_counter()
        self.transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        head = head.lower()
        if not end or len(body) < length_of(head) or self._call is None:
            return
        call, self._call, self._received = self._call, None, bytearray()
        call.status, call.head, call.body = int(head.split(b" ", 2)[1]), bytes(head), bytes(body)
        call.seconds = perf_counter() - call.due
        self._loop.pending -= 1
        if b"connection: close" in head:
            self.transport.close()
        else:
            self.idle_since = perf_counter()
            self._loop.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._loop.open -= 1
        if self._call is not None:
            self._loop.pending -= 1


@dataclass
class Probe:
    """Somebody who asks now and then, on a connection of its own each time.

    Attributes:
        seconds: Until each answer; as long as it takes to give up where there was none.
    """

    port: int
    path: str
    seconds: list[float] = field(default_factory=list)

    async def once(self) -> float | None:
        """The seconds until a good answer; None if there was none."""
        began = perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection(HOST, self.port)
                writer.write(f"GET {self.path} HTTP/1.0\r\nhost: {HOST}\r\n\r\n".encode())
                answer = await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            return None
        return perf_counter() - began if b" 200 " in answer.split(b"\r\n", 1)[0] else None

    async def again_and_again(self) -> None:
        """Until it is cancelled."""
        while True:
            taken = await self.once()
            self.seconds.append(PATIENCE_SECONDS if taken is None else taken)
            await asyncio.sleep(PROBE_SECONDS)


def message_of(path: str, content_type: str, body: bytes) -> bytes:
    """The request that posts a body."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def length_of(head: bytes | bytearray) -> int:
    """Of the body that follows."""
    _, _, rest = head.partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0])


async def at_rate(port: int, messages: Sequence[bytes], rate: float, seconds: float) -> list[Call]:
    """So many requests a second for so long."""
    loop = Loop(port)
    calls: list[Call] = []
    tasks: set[asyncio.Task[None]] = set()
    started = perf_counter()
    for i in range(int(rate * seconds)):
        call = Call(i % len(messages), started + i / rate)
        calls.append(call)
        # A pause of nothing lets answers in where the generator lags.
        await asyncio.sleep(max(0.0, call.due - perf_counter()))
        task = asyncio.create_task(loop.send(call, messages[call.number]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await _settle(loop)
    return calls


async def without_pause(
    port: int, messages: Sequence[bytes], connections: int, seconds: float
) -> list[Call]:
    """Every connection asks again as soon as it has its answer: what the server can do."""
    loop = Loop(port)
    calls: list[Call] = []
    end = perf_counter() + seconds
    while (now := perf_counter()) < end:
        if loop.pending < connections:
            call = Call(len(calls) % len(messages), now)
            calls.append(call)
            await loop.send(call, messages[call.number])
        else:
            await asyncio.sleep(0.0005)
    await _settle(loop)
    return calls


async def _settle(loop: Loop) -> None:
    end = perf_counter() + PATIENCE_SECONDS
    while loop.pending and perf_counter() < end:
        await asyncio.sleep(0.05)
    for caller in loop.idle:
        caller.transport.close()

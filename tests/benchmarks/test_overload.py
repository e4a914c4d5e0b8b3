"""The load that arrives at a fixed rate, on real sockets, and what is counted of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from benchmarks.overload import Work, good, told
from benchmarks.serving_peers.open_loop import Call, Probe, at_rate, message_of, without_pause

REQUESTS = 20
MESSAGE = message_of("/v1/score", "text/plain", b"abc")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Found = TypeVar("Found")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def against(handler: Handler, load: Callable[[int], Awaitable[Found]]) -> Found:
    """What a load finds at a server of this process."""

    async def main() -> Found:
        async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
            return await load(server.sockets[0].getsockname()[1])

    return asyncio.run(main())


def test_requests_arrive_whether_or_not_answers_come() -> None:
    """The first answer is given when the last request is there."""
    arrived = 0
    everyone = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        await reader.readexactly(len(MESSAGE))
        arrived += 1
        if arrived == REQUESTS:
            everyone.set()
        await everyone.wait()
        writer.write(ANSWER)

    calls = against(late, lambda port: at_rate(port, [MESSAGE], 10 * REQUESTS, 0.1))

    assert [(call.status, call.body) for call in calls] == [(200, b"ok")] * REQUESTS
    assert all(call.due <= call.sent for call in calls)


def test_a_connection_is_used_again_and_its_end_loses_what_it_had() -> None:
    connections = 0

    async def one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readexactly(len(MESSAGE))
        writer.write(ANSWER)
        await reader.readexactly(len(MESSAGE))
        writer.close()

    async def load(port: int) -> list[Call]:
        return await without_pause(port, [MESSAGE], 1, 0.3)

    calls = against(one_answer, load)

    assert len(calls) >= 2
    assert [call.status for call in calls[:4]] == [200, 0, 200, 0][: len(calls)]
    assert connections == (len(calls) + 1) // 2


def test_a_probe_wants_a_good_answer() -> None:
    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status = b"200 OK" if head.startswith(b"GET /livez ") else b"503 No"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    assert against(busy, lambda port: Probe(port, "/livez").once()) is not None
    assert against(busy, lambda port: Probe(port, "/readyz").once()) is None


def test_what_is_lost_wrong_or_refused_without_a_time_to_wait_is_a_fault() -> None:
    work = Work([b"", b""], [[1.5], [2.5]])
    right, wrong = (json.dumps({"scores": scores}).encode() for scores in ([2.5], [2.4]))
    calls = [
        Call(1, due=0.0, sent=0.0, status=200, seconds=0.5, body=right),
        Call(1, due=0.0, sent=0.0, status=200, seconds=1.5, body=right),
        Call(0, due=0.0, sent=0.0, status=503, seconds=0.1, head=b"\r\nretry-after: 1\r\n"),
    ]
    faulty = [
        Call(1, due=0.0, sent=0.0, status=200, body=wrong),
        Call(1, due=0.0, sent=0.0, status=503),
        Call(1, due=0.0, sent=0.0, status=500),
        Call(1, due=0.0),
    ]

    found = told(calls, work)
    assert (found["answered"], found["refused"], found["faults"]) == (2, 1, 0)
    assert good(calls) == 1
    for call in faulty:
        assert told([*calls, call], work)["faults"] == 1

"""A connection on which requests follow each other without waiting, in front of a slow answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import uvicorn
from starlette.types import Receive, Scope, Send

from service.app.connection import guarded_by
from service.settings import Limits

HEAD_SECONDS = 0.1
LIMITS = Limits(head_seconds=HEAD_SECONDS, head_bytes=1000, body_seconds=HEAD_SECONDS)
FIRST = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"
SECOND = b"GET /quick HTTP/1.1\r\nhost: x\r\n\r\n"


@dataclass
class Slow:
    """Answers with the path; one path when it is told to, one without reading the body."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    def lane(self, url: bytes) -> None:
        """There is no short way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            self.entered.set()
            await self.release.wait()
        status = 503 if scope["path"] == "/full" else 200
        body = scope["path"].encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Slow], Awaitable[None]]


def on_a_connection(talk: Talk) -> None:
    """Speak with a real server on a real socket."""

    async def main() -> None:
        app = Slow()
        config = uvicorn.Config(
            app,
            http=guarded_by(LIMITS),
            ws="none",
            lifespan="off",
            log_level="critical",
            proxy_headers=False,
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            running = asyncio.create_task(server.serve([listening]))
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            async with asyncio.timeout(20):
                await talk(reader, writer, app)
            writer.close()
            server.should_exit = True
            await running

    asyncio.run(main())


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Status and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    return head.split(b" ", 2)[1] + b" " + await reader.readexactly(length)


def test_a_head_behind_a_slow_answer_has_its_time_after_that() -> None:
    """Its beginning may have been read while the server reads no further."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, app: Slow) -> None:
        writer.write(FIRST + SECOND + SECOND[:10])
        await app.entered.wait()
        writer.write(SECOND[10:])
        await asyncio.sleep(3 * HEAD_SECONDS)
        app.release.set()

        assert await answer(reader) == b"200 /slow"
        assert await answer(reader) == b"200 /quick"
        assert await answer(reader) == b"200 /quick"

    on_a_connection(talk)


def test_a_head_that_stays_incomplete_is_given_up_after_the_answers_before_it() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, app: Slow) -> None:
        writer.write(FIRST + SECOND[:10])
        await app.entered.wait()
        await asyncio.sleep(3 * HEAD_SECONDS)
        app.release.set()

        assert await answer(reader) == b"200 /slow"
        assert (await answer(reader)).startswith(b"408 ")
        assert await reader.read() == b""

    on_a_connection(talk)


def test_what_is_no_http_is_not_refused_in_the_place_of_an_answer_before_it() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, app: Slow) -> None:
        writer.write(FIRST)
        await app.entered.wait()
        writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        await asyncio.sleep(HEAD_SECONDS)
        app.release.set()

        assert await answer(reader) == b"200 /slow"
        assert await reader.read() == b""

    on_a_connection(talk)


def test_a_connection_outlives_a_refusal_whose_body_still_comes() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, app: Slow) -> None:
        writer.write(b"POST /full HTTP/1.1\r\nhost: x\r\ncontent-length: 400000\r\n\r\n")
        assert await answer(reader) == b"503 /full"
        writer.write(b"x" * 400_000 + SECOND)
        assert await answer(reader) == b"200 /quick"

    on_a_connection(talk)


def test_a_refused_body_that_does_not_end_is_not_waited_for() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, app: Slow) -> None:
        writer.write(b"POST /full HTTP/1.1\r\nhost: x\r\ncontent-length: 400000\r\n\r\nx")
        assert await answer(reader) == b"503 /full"
        assert await reader.read() == b""

    on_a_connection(talk)

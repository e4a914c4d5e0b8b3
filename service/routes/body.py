"""Reading a request's own words: its body within limits, and its query."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from starlette.datastructures import QueryParams
from starlette.types import Receive

from service.routes.problems import BodyTooSlow, BodyUnreadable, MediaTypeRefused
from service.wire.options import TRUTH
from service.wire.refusals import InvalidRequest, TooLarge

JSON_TYPE = "application/json"


@dataclass(slots=True)
class Post:
    """A request with a body, as far as it has come.

    Attributes:
        receive: Where the body comes from.
        query: As it stands in the URL.
        request_id: Ours, or the caller's own.
        headers: By their names in lower case.
    """

    receive: Receive
    query: bytes
    request_id: str
    headers: Mapping[bytes, bytes]

    def header(self, name: bytes) -> str:
        """What was sent under that name; empty if nothing was."""
        return self.headers.get(name, b"").decode("latin-1")


@dataclass(frozen=True)
class Reply:
    """What is sent with status 200.

    Attributes:
        headers: Besides those that every answer has.
    """

    body: bytes
    media_type: str = JSON_TYPE
    headers: tuple[tuple[bytes, bytes], ...] = ()


Endpoint: TypeAlias = Callable[[Post], Awaitable[Reply]]
"""Answers a request, or raises an error that `service.routes.problems` knows."""


@dataclass(frozen=True)
class Direct:
    """A path that is answered without the framework.

    Attributes:
        template: The label of the metrics: the path, with a name for each part that may vary.
        method: The only one that it takes.
        scores: Whether it is for those who may send rows and images.
    """

    endpoint: Endpoint
    template: str
    method: str = "POST"
    scores: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a route reads.

    Attributes:
        what: To be sent, as part of a sentence.
        most_bytes: Of a body.
        otherwise: What to do with more, as a sentence.
    """

    what: str
    most_bytes: int
    otherwise: str


async def read_body(
    post: Post, wanted: Wanted, seconds: float, hold: Callable[[int], None]
) -> bytes:
    """The whole body.

    Args:
        seconds: From the first to the last byte.
        hold: Told of each chunk's length before it is kept.

    Raises:
        TooLarge: longer than the limit, by its header or when that many bytes have come.
        BodyTooSlow: not complete in time.
        BodyUnreadable: empty, or the client went away.
        Exception: whatever `hold` raises.
    """
    declared = post.header(b"content-length")
    if declared.isdecimal() and int(declared[:20]) > wanted.most_bytes:
        raise _too_large(wanted)
    try:
        async with asyncio.timeout(seconds):
            body = await _receive(post.receive, wanted, hold)
    except TimeoutError as error:
        raise BodyTooSlow(
            f"the body was not complete within {seconds:g} seconds. Send it in one go, "
            "or in smaller requests."
        ) from error
    if not body:
        raise BodyUnreadable(f"the body is empty. Send {wanted.what}.")
    return body


def read_flag(post: Post, name: str) -> bool:
    """The one query parameter that a path takes; absent is false.

    Raises:
        InvalidRequest: another parameter, or a value that is neither true nor false.
    """
    if not post.query:
        return False
    given = QueryParams(post.query)
    if given.keys() - {name} or given.get(name, "false") not in TRUTH:
        raise InvalidRequest(
            f"the query takes one parameter, `{name}`, true or false.", code="query_invalid"
        )
    return TRUTH[given.get(name, "false")]


def media_type(post: Post) -> tuple[str, str]:
    """What the body is by its own account, in lower case, and the parameters of that, as sent.

    Raises:
        MediaTypeRefused: compressed.
    """
    if post.header(b"content-encoding").strip().lower() not in ("", "identity"):
        raise MediaTypeRefused("compressed bodies are not read. Send the body as it is.")
    name, _, parameters = post.header(b"content-type").partition(";")
    return name.strip().lower(), parameters.strip()


async def _receive(receive: Receive, wanted: Wanted, hold: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyUnreadable("the client went away before the body was complete.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > wanted.most_bytes:
            raise _too_large(wanted)
        hold(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(wanted: Wanted) -> TooLarge:
    return TooLarge(
        f"the body is longer than {wanted.most_bytes:,} bytes. {wanted.otherwise}",
        code="body_too_large",
    )

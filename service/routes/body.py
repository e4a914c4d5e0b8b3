"""Reading a request's own words: its body within limits, and its query."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from service.routes.problems import BodyTooSlow, BodyUnreadable, MediaTypeRefused
from service.wire.refusals import InvalidRequest, TooLarge

TRUTH = {"true": True, "1": True, "false": False, "0": False}


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
    request: Request, wanted: Wanted, seconds: float, hold: Callable[[int], None]
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
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > wanted.most_bytes:
        raise _too_large(wanted)
    try:
        async with asyncio.timeout(seconds):
            body = await _receive(request, wanted, hold)
    except TimeoutError as error:
        raise BodyTooSlow(
            f"the body was not complete within {seconds:g} seconds. Send it in one go, "
            "or in smaller requests."
        ) from error
    if not body:
        raise BodyUnreadable(f"the body is empty. Send {wanted.what}.")
    return body


def read_flag(request: Request, name: str) -> bool:
    """The one query parameter that a path takes; absent is false.

    Raises:
        InvalidRequest: another parameter, or a value that is neither true nor false.
    """
    if not request.scope["query_string"]:
        return False
    given = request.query_params
    if given.keys() - {name} or given.get(name, "false") not in TRUTH:
        raise InvalidRequest(
            f"the query takes one parameter, `{name}`, true or false.", code="query_invalid"
        )
    return TRUTH[given.get(name, "false")]


def media_type(request: Request) -> tuple[str, str]:
    """What the body is by its own account, in lower case, and the parameters of that, as sent.

    Raises:
        MediaTypeRefused: compressed.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise MediaTypeRefused("compressed bodies are not read. Send the body as it is.")
    name, _, parameters = request.headers.get("content-type", "").partition(";")
    return name.strip().lower(), parameters.strip()


async def _receive(request: Request, wanted: Wanted, hold: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
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

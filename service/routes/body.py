"""Reading a request's own words: its body within limits, and its query."""

from __future__ import annotations

import asyncio

from fastapi import Request

from service.routes.problems import BodyTooSlow, BodyUnreadable, MediaTypeRefused
from service.settings import Limits
from service.wire.refusals import InvalidRequest, TooLarge

JSON_TYPE = "application/json"
TRUTH = {"true": True, "1": True, "false": False, "0": False}


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body.

    Raises:
        MediaTypeRefused: not JSON, or compressed.
        TooLarge: longer than the limit, by its header or when that many bytes have come.
        BodyTooSlow: not complete in time.
        BodyUnreadable: empty, or the client went away.
    """
    _check_headers(request, limits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            body = await _receive(request, limits)
    except TimeoutError as error:
        raise BodyTooSlow(
            f"the body was not complete within {limits.body_seconds:g} seconds. Send it in one go, "
            "or in smaller requests."
        ) from error
    if not body:
        raise BodyUnreadable('the body is empty. Send {"columns": [...], "rows": [[...]]}.')
    return body


def read_flag(request: Request, name: str) -> bool:
    """The one query parameter that a path takes; absent is false.

    Raises:
        InvalidRequest: another parameter, or a value that is neither true nor false.
    """
    given = request.query_params
    if given.keys() - {name} or given.get(name, "false") not in TRUTH:
        raise InvalidRequest(
            f"the query takes one parameter, `{name}`, true or false.", code="query_invalid"
        )
    return TRUTH[given.get(name, "false")]


def _check_headers(request: Request, limits: Limits) -> None:
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise MediaTypeRefused("compressed bodies are not read. Send the JSON as it is.")
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != JSON_TYPE:
        raise MediaTypeRefused(f"the body must be JSON: send the header content-type: {JSON_TYPE}.")
    if parameters.strip().lower().replace('"', "") not in ("", "charset=utf-8"):
        raise MediaTypeRefused("JSON is read as UTF-8 only. Send it so, without a charset.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limits.body_bytes:
        raise _too_large(limits)


async def _receive(request: Request, limits: Limits) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise BodyUnreadable("the client went away before the body was complete.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limits.body_bytes:
            raise _too_large(limits)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge(
        f"the body is longer than {limits.body_bytes:,} bytes. Send the rows in parts, or score a "
        "file with `anomaly score`.",
        code="body_too_large",
    )

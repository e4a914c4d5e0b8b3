"""What every answer carries, whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from secrets import token_hex
from typing import TypeAlias

from service.logs import Request
from service.wire.trace import traceparent_of

Headers: TypeAlias = list[tuple[bytes, bytes]]

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# Random once for each process, then counted: the system's generator takes microseconds a number.
_PROCESS = token_hex(10)
_NUMBERS = count(1)


def request_of(headers: Mapping[bytes, bytes]) -> Request:
    """Its names: the id is the caller's own, if it is short and plain, else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    is_sane = given and _SANE_ID.fullmatch(given)
    return Request(
        given if is_sane else f"{_PROCESS}{next(_NUMBERS):012x}",
        traceparent_of(headers.get(b"traceparent")),
    )


def own_headers(request: Request, *, closing: bool) -> Headers:
    """The headers of every answer; `closing` says that the connection ends with it."""
    found = [
        (b"x-request-id", request.request_id.encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
    ]
    if request.traceparent is not None:
        found.append((b"traceparent", request.traceparent.encode("ascii")))
    if closing:
        found.append((b"connection", b"close"))
    return found

"""Bytes to plain JSON values."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from service.wire.refusals import NotJSON

LONGEST_INTEGER = 400
"""Digits; longer than any float64. Turning more digits into a number would only cost time."""


def decode(body: bytes) -> Any:
    """The JSON value.

    NaN, Infinity, 1e400, integers of any length and lone surrogates pass, although they are no
    good: whoever looks at the values can then say in which row and column they stand.

    Raises:
        NotJSON: not JSON in UTF-8 (`json_invalid`), or nested too deeply (`json_depth`).
    """
    try:
        return msgspec.json.decode(body)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError:
        # Seldom, and slower: the standard library reads what msgspec refuses to.
        return _decode_leniently(body)


def _decode_leniently(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_int=_integer)
    except UnicodeDecodeError as error:
        raise NotJSON(
            f"the body is not UTF-8 at byte {error.start}. Send JSON encoded as UTF-8.",
            code="json_invalid",
        ) from error
    except json.JSONDecodeError as error:
        at = len(error.doc[: error.pos].encode())
        raise NotJSON(
            f"the body is not JSON: {error.msg} at byte {at}. Send one JSON object, encoded as "
            "UTF-8 without a byte order mark.",
            code="json_invalid",
        ) from error
    except RecursionError as error:
        raise _too_deep() from error


def _integer(digits: str) -> int:
    return int(digits[:LONGEST_INTEGER])


def _too_deep() -> NotJSON:
    return NotJSON(
        "the body is nested too deeply. A request is an object of arrays of arrays, or of objects.",
        code="json_depth",
    )

"""The formats of bodies and answers besides JSON, by their media types."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from anomaly.data.schema import Schema
from service.routes.body import JSON_TYPE
from service.settings import Limits
from service.wire.answer import JSON, Answer
from service.wire.answer_columns import to_lines
from service.wire.ndjson import read_lines
from service.wire.options import Options
from service.wire.request import ScoreRequest

CSV_TYPE = "text/csv"
LINES_TYPE = "application/x-ndjson"
PARQUET_TYPE = "application/vnd.apache.parquet"
ARROW_TYPE = "application/vnd.apache.arrow.stream"

TABLE_TYPES = (CSV_TYPE, LINES_TYPE, PARQUET_TYPE, ARROW_TYPE)

USUAL = frozenset({None, b"*/*", b"application/json", b"application/json, */*"})
"""Values of the header `accept` that need no look: they ask for JSON."""

RANGES = {
    "*/*": JSON_TYPE,
    "application/*": JSON_TYPE,
    "text/*": CSV_TYPE,
    **{name: name for name in (JSON_TYPE, *TABLE_TYPES)},
}

Hold: TypeAlias = Callable[[int], None]


def read_as(
    kind: str, body: bytes, schema: Schema, limits: Limits, options: Options, hold: Hold
) -> ScoreRequest:
    """The request that a body of one of `TABLE_TYPES` is.

    Args:
        hold: Told of bytes before they are unpacked.

    Raises:
        NotATable, TooLarge, InvalidRequest: the body is at fault.
        Exception: whatever `hold` raises.
    """
    if kind == LINES_TYPE:
        return read_lines(body, schema, limits, options)
    # pyarrow takes a third of a second and 40 MB, which no service of JSON should pay.
    from service.wire.table_sources import read_arrow, read_csv, read_parquet

    readers = {CSV_TYPE: read_csv, PARQUET_TYPE: read_parquet, ARROW_TYPE: read_arrow}
    return readers[kind](body, schema, limits, options, hold)


def write_as(kind: str, answer: Answer) -> bytes:
    """The answer in JSON or one of `TABLE_TYPES`.

    Raises:
        InvalidRequest: an id column has the name of a column of the answer.
    """
    if kind == JSON_TYPE:
        return JSON.encode(answer)
    if kind == LINES_TYPE:
        return to_lines(answer)
    from service.wire.arrow_answers import to_arrow, to_csv, to_parquet

    writers = {CSV_TYPE: to_csv, PARQUET_TYPE: to_parquet, ARROW_TYPE: to_arrow}
    return writers[kind](answer)


def accepted(header: bytes | None) -> str:
    """The type of the answer that a header `accept` prefers; JSON if it names none of ours."""
    if header in USUAL or header is None:
        return JSON_TYPE
    best, found = 0.0, JSON_TYPE
    for part in header.decode("latin-1").lower().split(","):
        name, _, parameters = part.partition(";")
        quality = _quality(parameters)
        # The first of several that are equally welcome.
        if quality > best and (kind := RANGES.get(name.strip())) is not None:
            best, found = quality, kind
    return found


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0

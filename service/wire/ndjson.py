"""Records, one JSON object in each line, as a request."""

from __future__ import annotations

from typing import Any

from anomaly.data.schema import Schema
from service.settings import Limits
from service.wire.options import Options
from service.wire.refusals import Code, NotJSON
from service.wire.request import Complaints, ScoreRequest, check_count, from_columns, from_records
from service.wire.text import decode


def read_lines(body: bytes, schema: Schema, limits: Limits, options: Options) -> ScoreRequest:
    """Read a request; blank lines are no rows.

    Raises:
        TooLarge: more rows than the limit.
        InvalidRequest: there are none, or (mode strict) one is faulty.
    """
    complaints = Complaints()
    lines = [line for line in body.split(b"\n") if line.strip()]
    # Counted before they are read: a line of two bytes becomes an object of sixty.
    check_count(len(lines), limits)
    values = [_value(row, line, complaints) for row, line in enumerate(lines)]
    sound, columns = from_records(values, schema, complaints)
    return from_columns(
        columns, sound, len(lines), schema, limits, options.alpha, options.mode, complaints
    )


def _value(row: int, line: bytes, complaints: Complaints) -> Any:
    """What a line holds; None, with a complaint, if it is no JSON."""
    try:
        return decode(line)
    except NotJSON:
        complaints.add(Code.NOT_A_LINE, row)
        return None

"""Answers as CSV, Parquet and Arrow streams. Needs pyarrow: imported when one is asked for."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from anomaly.data.export import safe_table
from service.wire.answer import Answer
from service.wire.answer_columns import columns_of

TYPES = {
    "score": pa.float64(),
    "p_value": pa.float64(),
    "is_anomaly": pa.bool_(),
    "top_features": pa.string(),
    "errors": pa.string(),
}


def table_of(answer: Answer) -> pa.Table:
    """The answer as typed columns."""
    return pa.table(
        {name: _array(values, TYPES.get(name)) for name, values in columns_of(answer).items()}
    )


def to_csv(answer: Answer) -> bytes:
    """With a header; text that a spreadsheet would run is told apart by an apostrophe."""
    out = BytesIO()
    csv.write_csv(safe_table(table_of(answer)), out)
    return out.getvalue()


def to_parquet(answer: Answer) -> bytes:
    """One file."""
    out = BytesIO()
    parquet.write_table(table_of(answer), out)
    return out.getvalue()


def to_arrow(answer: Answer) -> bytes:
    """A stream of one batch."""
    table, out = table_of(answer), BytesIO()
    with ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


def _array(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    """Identifiers of one type in that type, else as text."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if v is None else str(v) for v in values], pa.string())

"""The pumps in every format of tables, and answers of each read back."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pyarrow as pa
from pyarrow import csv, ipc, parquet

from anomaly.data.records import Records
from tests.service.pumps import as_request

CSV = "text/csv"
LINES = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
EVERY_FORM = (CSV, LINES, PARQUET, ARROW)


def table_of(records: Records, **further: Any) -> pa.Table:
    """The records as typed columns; `further` columns come last."""
    request = as_request(records)
    columns = dict(zip(request["columns"], zip(*request["rows"], strict=True), strict=True))
    table = pa.table({name: list(values) for name, values in columns.items()})
    table = with_column(table, "taken", table["taken"].cast(pa.timestamp("us")))
    for name, values in further.items():
        table = table.append_column(name, pa.array(values))
    return table


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """The table with other values in one column."""
    return table.set_column(table.column_names.index(name), name, values)


def written(table: pa.Table, form: str, **options: Any) -> bytes:
    """The table as a body of that media type."""
    out = io.BytesIO()
    match form:
        case "text/csv":
            csv.write_csv(table, out)
        case "application/x-ndjson":
            out.write(
                b"\n".join(json.dumps(row, default=str).encode() for row in table.to_pylist())
            )
        case "application/vnd.apache.parquet":
            parquet.write_table(table, out, **options)
        case "application/vnd.apache.arrow.stream":
            with ipc.new_stream(out, table.schema, **options) as stream:
                stream.write_table(table)
    return out.getvalue()


def read_back(answer: httpx.Response) -> dict[str, list[Any]]:
    """The columns of an answer, whatever its format."""
    body = io.BytesIO(answer.content)
    match answer.headers["content-type"]:
        case "text/csv":
            return dict(csv.read_csv(body).to_pydict())
        case "application/x-ndjson":
            rows = [json.loads(line) for line in body]
            return {name: [row[name] for row in rows] for name in rows[0]}
        case "application/vnd.apache.parquet":
            return dict(parquet.read_table(body).to_pydict())
        case "application/vnd.apache.arrow.stream":
            return dict(ipc.open_stream(body).read_all().to_pydict())
        case other:
            raise AssertionError(f"{other} is no format of tables")

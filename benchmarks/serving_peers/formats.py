"""How rows are sent to a server and scores are found in its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import pyarrow as pa

from anomaly.arrays import Float64

Decode: TypeAlias = Callable[[bytes], list[float]]


class Kind(StrEnum):
    """How numbers are written."""

    JSON = "json"
    BINARY = "binary"


@dataclass(frozen=True)
class Format:
    """One way to ask.

    Attributes:
        encode: Names and rows (N, D) to a body.
        decode: An answer to scores; None where the server does not score.
    """

    content_type: str
    encode: Callable[[Sequence[str], Float64], bytes]
    decode: Decode | None


def columns_and_rows(names: Sequence[str], rows: Float64) -> bytes:
    """`anomaly serve`."""
    return _json({"columns": list(names), "rows": rows.tolist()})


def rows_alone(_: Sequence[str], rows: Float64) -> bytes:
    """The peers whose handlers are in this folder."""
    return _json({"rows": rows.tolist()})


def dataframe_split(names: Sequence[str], rows: Float64) -> bytes:
    """`mlflow models serve`."""
    return _json({"dataframe_split": {"columns": list(names), "data": rows.tolist()}})


def open_inference(_: Sequence[str], rows: Float64) -> bytes:
    """One tensor of the Open Inference Protocol, version 2."""
    tensor = {
        "name": "rows",
        "shape": rows.shape,
        "datatype": "FP64",
        "data": rows.ravel().tolist(),
    }
    return _json({"inputs": [tensor]})


def arrow_stream(names: Sequence[str], rows: Float64) -> bytes:
    """Arrow's IPC stream of one batch, a column a name."""
    batch = pa.record_batch([pa.array(column) for column in rows.T], names=list(names))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def json_answer(pick: Callable[[Any], list[float]]) -> Decode:
    """Scores that `pick` finds in the JSON of an answer."""
    return lambda body: pick(json.loads(body))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


OURS = Format("application/json", columns_and_rows, json_answer(lambda a: a["scores"]))
OURS_ARROW = Format(
    "application/vnd.apache.arrow.stream", arrow_stream, json_answer(lambda a: a["scores"])
)
ROWS = Format("application/json", rows_alone, json_answer(lambda a: a["scores"]))
ROWS_TO_LIST = Format("application/json", rows_alone, json_answer(lambda a: a))
ROWS_TO_NOTHING = Format("application/json", rows_alone, None)
OPEN_INFERENCE = Format(
    "application/json", open_inference, json_answer(lambda a: a["outputs"][0]["data"])
)
MLFLOW = Format(
    "application/json",
    dataframe_split,
    json_answer(lambda a: [row["score"] for row in a["predictions"]]),
)

"""Requests and answers of the Open Inference Protocol, version 2, about rows of a table.

https://github.com/kserve/open-inference-protocol, with Triton's extension for binary data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import asdict

from anomaly.arrays import Bool, Float64, Values
from anomaly.data.records import NumericColumns, Records
from anomaly.data.schema import Column, Kind, Schema
from service.settings import Limits
from service.wire.refusals import Code, InvalidRequest, NotJSON, shown
from service.wire.request import (
    Complaints,
    Mode,
    ScoreRequest,
    check_count,
    check_names,
    concluded,
    sound_records,
)
from service.wire.tensors import InputTensor, OutputTensor, as_float64, refused, to_bytes, values_of
from service.wire.text import decode
from service.wire.values import LARGEST_EXACT_INTEGER, Faults, convert

MATRIX = "input"
"""The tensor that holds all columns at once, where all of them are numbers."""

OUTPUTS = ("score", "p_value", "is_anomaly", "contribution")

DATATYPES = {"f": "FP64", "b": "BOOL"}
"""Of outputs, by the kind of their arrays."""

PARAMETERS = frozenset({"alpha", "explain", "binary_data_output", "content_type", "headers"})
"""Of a request. The last two are what clients of MLServer add of themselves."""

BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"


class WantedOutput(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceBody(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[WantedOutput] | None = None


class InferenceResponse(msgspec.Struct, omit_defaults=True):
    """The JSON of an answer.

    Attributes:
        parameters: `alpha`, the false-alarm rate that was applied, and `threshold` of the score.
    """

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    parameters: dict[str, Any]
    id: str | None = None


class TensorInfo(msgspec.Struct, omit_defaults=True):
    """An input or output, as it is described; -1 is the number of rows.

    Attributes:
        parameters: `columns` names what the second axis holds.
    """

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}


class InferenceError(msgspec.Struct):
    """Why there is no answer."""

    error: str


class InferenceRequest(ScoreRequest, frozen=True):
    """What was asked, and how it is to be answered.

    Attributes:
        id: To be sent back; None if there was none.
        binary: For each output that is wanted, whether in bytes.
        explain: Whether contributions are wanted.
    """

    id: str | None
    binary: Mapping[str, bool]
    explain: bool


def read_inference(
    body: bytes, json_length: str, schema: Schema, limits: Limits
) -> InferenceRequest:
    """Read a request.

    Args:
        json_length: The header Inference-Header-Content-Length: where the JSON ends and the bytes
            of tensors begin; empty if there are none.

    Raises:
        NotJSON: the body is not JSON.
        TooLarge: more rows or columns than the limits allow.
        InvalidRequest: no such request, or a row is faulty.
    """
    head, tail = _parts(body, json_length)
    try:
        sent = msgspec.convert(decode(head), InferenceBody)
    except msgspec.ValidationError as error:
        # Its messages name places and types, and no values.
        raise _invalid(f"the body is no inference request: {error}") from error
    return understood(sent, _arrays(sent.inputs, tail), schema, limits)


def understood(
    sent: InferenceBody, arrays: Sequence[Values], schema: Schema, limits: Limits
) -> InferenceRequest:
    """The request that was sent, whatever it was written in.

    Args:
        arrays: The values of each input, in its shape.

    Raises:
        TooLarge, InvalidRequest: see `read_inference`.
    """
    binary, explain = _wanted(sent)
    request = _request(sent, arrays, schema, limits)
    return InferenceRequest(**asdict(request), id=sent.id, binary=binary, explain=explain)


def answered(
    request: InferenceRequest, arrays: Mapping[str, Values], response: InferenceResponse
) -> tuple[bytes, int | None]:
    """The body of an answer, and how much of it is JSON; None if all of it.

    Args:
        response: Without its outputs, which are added.
    """
    parts: list[bytes] = []
    for name, is_binary in request.binary.items():
        values = arrays[name]
        output = OutputTensor(name, DATATYPES[values.dtype.kind], list(values.shape))
        if is_binary:
            parts.append(to_bytes(values))
            output.parameters = {BINARY_SIZE: len(parts[-1])}
        else:
            output.data = values.ravel().tolist()
        response.outputs.append(output)
    head = msgspec.json.encode(response)
    return (b"".join([head, *parts]), len(head)) if parts else (head, None)


def inputs_of(schema: Schema) -> list[TensorInfo]:
    """What a request must send: all columns at once if they are numbers, else one tensor each."""
    required = schema.required
    if _are_numeric(required):
        names = [column.name for column in required]
        return [TensorInfo(MATRIX, "FP64", [-1, len(names)], {"columns": names})]
    kinds = {Kind.NUMERIC: "FP64", Kind.BOOLEAN: "BOOL"}
    return [TensorInfo(column.name, kinds.get(column.kind, "BYTES"), [-1]) for column in required]


def outputs_of(columns: Sequence[str]) -> list[TensorInfo]:
    """What an answer may hold; `columns` are those that contributions are told of."""
    return [
        TensorInfo("score", "FP64", [-1]),
        TensorInfo("p_value", "FP64", [-1]),
        TensorInfo("is_anomaly", "BOOL", [-1]),
        TensorInfo("contribution", "FP64", [-1, len(columns)], {"columns": list(columns)}),
    ]


def _parts(body: bytes, json_length: str) -> tuple[bytes, memoryview]:
    """The JSON, and the bytes after it."""
    if not json_length:
        return body, memoryview(b"")
    if not json_length.isdecimal() or int(json_length[:20]) > len(body):
        raise NotJSON(
            "the header Inference-Header-Content-Length says how many bytes of the body are JSON; "
            "it is no number, or larger than the body.",
            code="json_invalid",
        )
    end = int(json_length)
    return body[:end], memoryview(body)[end:]


def _wanted(sent: InferenceBody) -> tuple[dict[str, bool], bool]:
    """Which outputs, each with whether in bytes, and whether they need contributions."""
    if unknown := sent.parameters.keys() - PARAMETERS:
        raise _invalid(f"there is no parameter {_listed(unknown)}; there are `alpha`, `explain`")
    explain = sent.parameters.get("explain", False)
    default = sent.parameters.get(ALL_BINARY, False)
    if type(explain) is not bool or type(default) is not bool:
        raise _invalid(f"the parameters `explain` and `{ALL_BINARY}` are true or false")
    if not sent.outputs:
        names = OUTPUTS if explain else OUTPUTS[:3]
        return dict.fromkeys(names, default), explain
    if unknown := {wish.name for wish in sent.outputs} - set(OUTPUTS):
        raise _invalid(f"there is no output {_listed(unknown)}; there are {', '.join(OUTPUTS)}")
    found: dict[str, bool] = {}
    for wish in sent.outputs:
        is_binary = wish.parameters.get(BINARY, default)
        if type(is_binary) is not bool or wish.parameters.keys() - {BINARY}:
            raise _invalid(f"an output takes one parameter, `{BINARY}`, true or false")
        found[wish.name] = is_binary
    return found, "contribution" in found


def _request(
    sent: InferenceBody, arrays: Sequence[Values], schema: Schema, limits: Limits
) -> ScoreRequest:
    required = schema.required
    complaints = Complaints()
    names = [tensor.name for tensor in sent.inputs]
    if names == [MATRIX] and len(sent.inputs[0].shape) == 2 and _are_numeric(required):
        records, faults = _from_matrix(sent.inputs[0], arrays[0], required)
    else:
        check_names(names, schema, limits)
        records, faults = _from_columns(sent.inputs, arrays, required)
    n_rows = len(records)
    check_count(n_rows, limits)
    records, rows = sound_records(records, faults, range(n_rows), schema, limits, complaints)
    alpha = _alpha(sent.parameters.get("alpha"))
    return concluded(records, rows, n_rows, {}, alpha, Mode.STRICT, complaints)


def _arrays(inputs: Sequence[InputTensor], tail: memoryview) -> list[Values]:
    """The values of each input; those in bytes follow each other."""
    arrays, at = [], 0
    for tensor in inputs:
        size = tensor.parameters.get(BINARY_SIZE)
        if size is None:
            arrays.append(values_of(tensor, None))
            continue
        if type(size) is not int or size < 0 or at + size > len(tail):
            raise refused(tensor, "has fewer bytes after the JSON than it says")
        arrays.append(values_of(tensor, tail[at : at + size]))
        at += size
    if at != len(tail):
        raise _invalid("there are bytes after the JSON that belong to no input")
    return arrays


def _from_matrix(
    tensor: InputTensor, values: Values, columns: Sequence[Column]
) -> tuple[Records, dict[str, Faults]]:
    if values.shape[1] != len(columns) or values.dtype.kind not in "fiu":
        raise refused(
            tensor, f"must be numbers of shape [rows, {len(columns)}], columns as in the metadata"
        )
    matrix, faults = _numbers(values)
    by_column: dict[str, Faults] = {}
    for (row, place), code in faults.items():
        by_column.setdefault(columns[place].name, {})[row] = code
    names = tuple(column.name for column in columns)
    return Records(NumericColumns(names, matrix), len(matrix)), by_column


def _from_columns(
    tensors: Sequence[InputTensor], arrays: Sequence[Values], columns: Sequence[Column]
) -> tuple[Records, dict[str, Faults]]:
    given = {tensor.name: (tensor, values) for tensor, values in zip(tensors, arrays, strict=True)}
    n_rows = len(given[columns[0].name][1]) if given[columns[0].name][0].shape else 0
    values: dict[str, Values] = {}
    faults: dict[str, Faults] = {}
    for column in columns:
        tensor, array = given[column.name]
        if tensor.shape not in ([n_rows], [n_rows, 1]):
            raise refused(tensor, f"must have the shape [{n_rows}] or [{n_rows}, 1]")
        values[column.name], faults[column.name] = _column(column, tensor, array.reshape(n_rows))
    if _are_numeric(columns):
        matrix = np.column_stack([values[column.name] for column in columns])
        return Records(NumericColumns(tuple(values), matrix), n_rows), faults
    return Records(values, n_rows), faults


def _column(column: Column, tensor: InputTensor, array: Values) -> tuple[Values, Faults]:
    """The values in the representation of the column, and what is wrong with them."""
    is_text, is_bool = array.dtype == object, array.dtype.kind == "b"
    match column.kind:
        case Kind.CATEGORICAL | Kind.DATETIME if is_text:
            return convert(column, array.tolist())
        case Kind.NUMERIC if not is_text and not is_bool:
            values, faults = _numbers(array)
            return values, {row: code for (row,), code in faults.items()}
        case Kind.BOOLEAN if not is_text:
            truth = as_float64(array)
            odd = ~(np.isnan(truth) | (truth == 0) | (truth == 1))
            truth[odd] = np.nan
            return truth, dict.fromkeys(np.flatnonzero(odd).tolist(), Code.NOT_A_BOOLEAN)
    raise refused(tensor, f"has the datatype {tensor.datatype}, and its column is {column.kind}")


def _numbers(array: Values) -> tuple[Float64, dict[tuple[int, ...], Code]]:
    """Finite numbers, NaN where missing or at fault, and by place what is at fault."""
    values = as_float64(array)
    faults: dict[tuple[int, ...], Code] = {}
    for code, odd in (
        (Code.NON_FINITE, np.isinf(values)),
        (Code.PRECISION_LOSS, _is_inexact(array)),
    ):
        faults |= {tuple(place): code for place in np.argwhere(odd).tolist()}
        values[odd] = np.nan
    return values, faults


def _is_inexact(array: Values) -> Bool:
    if array.dtype.kind == "f":
        return np.zeros(array.shape, dtype=bool)
    # Asked of the whole number: as a float64, 2^53 + 1 is 2^53.
    odd: Bool = (array > LARGEST_EXACT_INTEGER) | (array < -LARGEST_EXACT_INTEGER)
    return odd


def _alpha(alpha: Any) -> float | None:
    if alpha is None:
        return None
    if type(alpha) not in (int, float) or not 0 < alpha < 1:
        raise _invalid("the parameter `alpha` must be a number between 0 and 1")
    return float(alpha)


def _are_numeric(columns: Sequence[Column]) -> bool:
    return all(column.kind is Kind.NUMERIC for column in columns)


def _listed(names: Sequence[str] | set[str]) -> str:
    return ", ".join(f'"{shown(name)}"' for name in sorted(names)[:5])


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(f"{message}.", code="body_invalid")

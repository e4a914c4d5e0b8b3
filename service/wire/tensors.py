"""Tensors of the Open Inference Protocol: between JSON or bytes and NumPy arrays.

https://github.com/kserve/open-inference-protocol, and Triton's extension for binary data: BYTES
are each preceded by their length in four bytes, everything else is little-endian and row-major.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain
from math import prod
from types import NoneType
from typing import Any

import msgspec
import numpy as np

from anomaly.arrays import Bool, Float64, Objects, Values
from service.wire.refusals import InvalidRequest, shown

NUMBERS: dict[str, np.dtype[Any]] = {
    "FP64": np.dtype("<f8"),
    "FP32": np.dtype("<f4"),
    "FP16": np.dtype("<f2"),
    "INT64": np.dtype("<i8"),
    "INT32": np.dtype("<i4"),
    "INT16": np.dtype("<i2"),
    "INT8": np.dtype("<i1"),
    "UINT64": np.dtype("<u8"),
    "UINT32": np.dtype("<u4"),
    "UINT16": np.dtype("<u2"),
    "UINT8": np.dtype("<u1"),
    "BOOL": np.dtype("?"),
}
TEXT = "BYTES"

_OF_JSON: dict[str, frozenset[type]] = {
    "f": frozenset({float, int, NoneType}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "b": frozenset({bool}),
    TEXT: frozenset({str, NoneType}),
}
"""Types of the values of a datatype; null is a missing number or text."""


class InputTensor(msgspec.Struct):
    """A tensor of a request.

    Attributes:
        data: Flat or nested, row by row; absent where the bytes follow the JSON.
    """

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """A tensor of an answer.

    Attributes:
        data: Flat, row by row; absent where the bytes follow the JSON.
    """

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


def values_of(tensor: InputTensor, raw: memoryview | None) -> Values:
    """The values in the shape of the tensor: numbers as their datatype says, text as str or None.

    Args:
        raw: Its bytes, where they follow the JSON.

    Raises:
        InvalidRequest: an unknown datatype, or data of another type or length.
    """
    if tensor.datatype != TEXT and tensor.datatype not in NUMBERS:
        raise refused(tensor, f"has none of the datatypes {', '.join((*NUMBERS, TEXT))}")
    if not all(0 <= side < 2**40 for side in tensor.shape):
        raise refused(tensor, "has a shape that cannot be")
    count = prod(tensor.shape)
    flat = _of_list(tensor, count) if raw is None else _of_bytes(tensor, raw, count)
    if len(flat) != count:
        raise refused(tensor, f"must have {count} values by its shape, and has {len(flat)}")
    return flat.reshape(tensor.shape)


def refused(tensor: InputTensor, why: str) -> InvalidRequest:
    """What is wrong with an input."""
    return InvalidRequest(f'input "{shown(tensor.name)}" {why}.', code="tensor_invalid")


def to_bytes(values: Values) -> bytes:
    """The bytes of an array of numbers, row by row."""
    return np.ascontiguousarray(values).tobytes()


def _of_list(tensor: InputTensor, count: int) -> Values:
    if tensor.data is None:
        raise refused(tensor, "has no data")
    flat: Sequence[Any] = tensor.data
    for _ in tensor.shape[1:]:
        if set(map(type, flat)) == {list}:
            flat = list(chain.from_iterable(flat))
    if len(flat) != count:
        raise refused(tensor, f"must have {count} values by its shape, and has {len(flat)}")
    dtype = NUMBERS.get(tensor.datatype)
    if not set(map(type, flat)) <= _OF_JSON[TEXT if dtype is None else dtype.kind]:
        raise refused(tensor, f"has values that are no {tensor.datatype}")
    if dtype is None:
        return _texts(flat)
    try:
        if dtype.kind != "f":
            return np.array(flat, dtype=dtype)
        with np.errstate(over="ignore"):
            # What overflows is infinite, and is refused by its row.
            return np.array(flat, dtype=np.float64).astype(dtype)
    except OverflowError as error:
        raise refused(tensor, f"has values beyond {tensor.datatype}") from error


def _of_bytes(tensor: InputTensor, raw: memoryview, count: int) -> Values:
    if (dtype := NUMBERS.get(tensor.datatype)) is None:
        return _texts(_split(tensor, raw, count))
    if len(raw) != count * dtype.itemsize:
        raise refused(
            tensor, f"must have {count * dtype.itemsize} bytes by its shape, and has {len(raw)}"
        )
    if dtype.kind == "b":
        truth: Bool = np.frombuffer(raw, dtype=np.uint8) != 0
        return truth
    return np.frombuffer(raw, dtype=dtype)


def _split(tensor: InputTensor, raw: memoryview, count: int) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(raw) and len(found) <= count:
        if at + 4 > len(raw):
            raise refused(tensor, "ends within a length")
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4
        if at + length > len(raw):
            raise refused(tensor, "ends within a text")
        try:
            found.append(str(raw[at : at + length], "utf-8"))
        except UnicodeDecodeError as error:
            raise refused(tensor, f"is not UTF-8 in element {len(found)}") from error
        at += length
    return found


def _texts(values: Sequence[str | None]) -> Objects:
    """An empty text is a missing one: bytes have no other way to say it."""
    found = np.empty(len(values), dtype=object)
    found[:] = [value or None for value in values]
    return found


def as_float64(values: Values) -> Float64:
    """Numbers, whatever their datatype."""
    found: Float64 = values.astype(np.float64)
    return found

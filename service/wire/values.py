"""JSON values of one column to its NumPy array; strict types, one column at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, repeat
from operator import countOf
from types import NoneType
from typing import Any, assert_never

import numpy as np

from anomaly.arrays import Float64, Values
from anomaly.data.schema import Column, Kind
from service.wire.refusals import Code

LARGEST_EXACT_INTEGER = 2**53

Faults = dict[int, Code]
"""What is wrong, by position; a faulty value is missing in the array."""

_TYPES: dict[Kind, tuple[frozenset[type], Code]] = {
    Kind.NUMERIC: (frozenset({float, int, NoneType}), Code.NOT_A_NUMBER),
    Kind.BOOLEAN: (frozenset({bool, NoneType}), Code.NOT_A_BOOLEAN),
    Kind.CATEGORICAL: (frozenset({str, NoneType}), Code.NOT_TEXT),
    Kind.DATETIME: (frozenset({str, NoneType}), Code.NOT_A_DATETIME),
}
_ID_TYPES: frozenset[type] = frozenset({str, int, float, bool, NoneType})


def convert_all(
    columns: Sequence[Column], values: Mapping[str, Sequence[Any]]
) -> dict[str, tuple[Values, Faults]]:
    """The arrays of the given columns and what is wrong in each, by name."""
    numeric = [column.name for column in columns if column.kind is Kind.NUMERIC]
    block = _sound_numbers([values[name] for name in numeric])
    together = {} if block is None else dict(zip(numeric, block, strict=True))
    return {
        column.name: (together[column.name], {})
        if column.name in together
        else convert(column, values[column.name])
        for column in columns
    }


def convert(column: Column, values: Sequence[Any]) -> tuple[Values, Faults]:
    """The array of a feature or context column, (N,), in the representation of its kind."""
    accepted, otherwise = _TYPES[column.kind]
    faults = _of_other_types(values, accepted, otherwise)
    match column.kind:
        case Kind.NUMERIC:
            return _numbers(values, faults)
        case Kind.BOOLEAN:
            # None becomes NaN.
            return np.array(_without(values, faults), dtype=np.float64), faults
        case Kind.CATEGORICAL:
            faults |= _bad_text(values)
            array = np.empty(len(values), dtype=object)
            array[:] = _without(values, faults)
            return array, faults
        case Kind.DATETIME:
            return _times(values, faults)
        case _:
            assert_never(column.kind)


def check_ids(values: Sequence[Any]) -> tuple[list[Any], Faults]:
    """Identifiers as they came, those that cannot be sent back as None."""
    faults = _of_other_types(values, _ID_TYPES, Code.NOT_AN_ID) | _bad_text(values)
    for row, value in enumerate(values):
        if type(value) is int and not -(2**63) <= value < 2**64:
            faults[row] = Code.PRECISION_LOSS
        elif type(value) is float and not math.isfinite(value):
            faults[row] = Code.NON_FINITE
    return list(_without(values, faults)), faults


def _sound_numbers(columns: Sequence[Sequence[Any]]) -> Float64 | None:
    """All numeric columns at once, (C, N), or None if anything in them may be wrong.

    One array instead of C saves most of the time of a request of few rows.
    """
    kinds = set(map(type, chain.from_iterable(columns)))
    if not kinds <= _TYPES[Kind.NUMERIC][0]:
        return None
    try:
        block = np.array(columns, dtype=np.float64)
    except OverflowError:
        return None
    if int in kinds and (np.abs(block) >= LARGEST_EXACT_INTEGER).any():
        return None
    absent = sum(map(countOf, columns, repeat(None))) if NoneType in kinds else 0
    return block if np.isfinite(block).sum() + absent == block.size else None


def _numbers(values: Sequence[Any], faults: Faults) -> tuple[Float64, Faults]:
    if int in set(map(type, values)):
        faults |= {
            row: Code.PRECISION_LOSS
            for row, value in enumerate(values)
            if type(value) is int and abs(value) > LARGEST_EXACT_INTEGER
        }
    # None becomes NaN.
    array = np.array(_without(values, faults), dtype=np.float64)
    for row in map(int, np.flatnonzero(~np.isfinite(array))):
        if values[row] is not None and row not in faults:
            faults[row] = Code.NON_FINITE
            array[row] = np.nan
    return array, faults


def _times(values: Sequence[Any], faults: Faults) -> tuple[Values, Faults]:
    array = np.full(len(values), np.datetime64("NaT"), dtype="datetime64[us]")
    for row, value in enumerate(values):
        if value is not None and row not in faults:
            try:
                time = datetime.fromisoformat(value)
                array[row] = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
            except (ValueError, OverflowError):
                faults[row] = Code.NOT_A_DATETIME
    return array, faults


def _of_other_types(values: Sequence[Any], accepted: frozenset[type], code: Code) -> Faults:
    if set(map(type, values)) <= accepted:
        return {}
    return {row: code for row, value in enumerate(values) if type(value) not in accepted}


def _bad_text(values: Sequence[Any]) -> Faults:
    texts = [value for value in values if type(value) is str]
    if _is_text("".join(texts)):
        return {}
    return {
        row: Code.BAD_TEXT
        for row, value in enumerate(values)
        if type(value) is str and not _is_text(value)
    }


def _is_text(value: str) -> bool:
    if "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without(values: Sequence[Any], faults: Faults) -> Sequence[Any]:
    if not faults:
        return values
    return [None if row in faults else value for row, value in enumerate(values)]

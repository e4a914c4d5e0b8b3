"""From a column as it was read to the one representation of its kind.

Text (of CSV) is parsed by exact rules, typed columns (of Parquet and DataFrames) are cast:

- numeric: decimal numbers with a point, such as ``-1.5e3``; every finite one. Integers beyond
  2^53 are read to the nearest float64, as a longer fraction would be. Not finite is refused,
  but NaN in a *typed* column is missing, because that is how pandas writes it.
- boolean: true, false, 1, 0 in any case.
- datetime: ISO 8601, to the microsecond; with a zone it is taken to UTC, without it is UTC.
- categorical: the text as written; typed values as their text.

Only an empty cell is missing: "NA" or "null" may be a name, and is nothing that was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from anomaly.arrays import Float64, Objects, Values
from anomaly.data.flaws import Flaw, not_a_boolean, not_a_datetime, not_a_number, not_finite
from anomaly.data.records import Records, is_missing
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.errors import BadData, SchemaMismatch

NUMBER = r"\A[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\z"
"""What text must look like to be read as a number (RE2)."""


def scoring_columns(schema: Schema, found: Iterable[str]) -> tuple[Column, ...]:
    """What is read unless more is asked for: what a score needs, and the ids that are there."""
    present = set(found)
    return (*schema.required, *(column for column in schema.ids if column.name in present))


def to_records(table: pa.Table, columns: Sequence[Column]) -> tuple[Records, list[Flaw]]:
    """Convert the given columns of a table with N rows.

    Returns:
        N records, and the values at fault, column by column; the records hold a missing value
        in their place.

    Raises:
        SchemaMismatch: a typed column cannot be of the kind that the schema says.
        BadData: a column is of a type that is not supported.
    """
    values: dict[str, Values] = {}
    flaws: list[Flaw] = []
    for column in columns:
        array, found = to_values(column, whole(table[column.name]))
        values[column.name] = array
        flaws += found
        if not column.nullable:
            flaws += empty_cells(column, array, found)
    return Records(values, len(table)), flaws


def whole(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece, without a copy if it is in one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def to_values(column: Column, array: pa.Array) -> tuple[Values, list[Flaw]]:
    """(N,) one column in the representation of its kind (see `Records`), and its flaws."""
    array = plain(column.name, array)
    if column.role in (Role.ID, Role.LABEL):
        return texts(array), []
    match column.kind:
        case Kind.CATEGORICAL:
            return texts(array), []
        case Kind.NUMERIC:
            return numbers(column, array)
        case Kind.BOOLEAN:
            return booleans(column, array)
        case Kind.DATETIME:
            return datetimes(column, array)


def plain(name: str, array: pa.Array) -> pa.Array:
    """The array with dictionaries decoded and one type of text.

    Raises:
        BadData: nested, binary, decimal, duration or extension values.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain(name, array.dictionary_decode())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return array.cast(pa.string())
    if not is_supported(kind):
        raise unsupported(name, kind)
    return array


def unsupported(name: str, kind: pa.DataType) -> BadData:
    return BadData(
        f"holds values of type {kind}, which is not supported. Write numbers as float64, dates as "
        "timestamp and everything else as text, or take the column out.",
        code="unsupported_type",
        column=name,
    )


def is_supported(kind: pa.DataType) -> bool:
    """Whether a column of that Arrow type can be read."""
    if pa.types.is_dictionary(kind):
        return is_supported(kind.value_type)
    return bool(
        is_text(kind)
        or pa.types.is_null(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or is_moment(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def texts(array: pa.Array) -> Objects:
    """(N,) object of str or None. Equal texts are one object, which saves most of the memory."""
    codes = array.cast(pa.string()).dictionary_encode()
    known = np.array([*codes.dictionary.to_pylist(), None], dtype=object)
    found: Objects = known[codes.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
    return found


def numbers(column: Column, array: pa.Array) -> tuple[Float64, list[Flaw]]:
    """(N,) float64, NaN where missing or at fault."""
    if is_text(array.type):
        parsed, flaws = parse(column, array, parse_numbers, not_a_number)
    elif is_moment(array.type):
        raise wrong_type(column, array.type)
    else:
        parsed, flaws = array.cast(pa.float64(), safe=False), []
    values: Float64 = parsed.to_numpy(zero_copy_only=False)
    if np.isfinite(values).all():
        return values, flaws
    # A text "nan" was parsed and is refused; NaN in a typed column is how pandas says missing.
    is_bad = ~np.isfinite(values) & parsed.is_valid().to_numpy(zero_copy_only=False)
    if not is_text(array.type):
        is_bad &= ~np.isnan(values)
    flaws += [
        not_finite(row, column.name, array[row].as_py()) for row in np.flatnonzero(is_bad).tolist()
    ]
    return np.where(is_bad, np.nan, values), flaws


def booleans(column: Column, array: pa.Array) -> tuple[Float64, list[Flaw]]:
    """(N,) float64 of 0, 1 or NaN."""
    if is_text(array.type):
        parsed, flaws = parse(column, array, parse_booleans, not_a_boolean)
        values: Float64 = parsed.to_numpy(zero_copy_only=False)
        return values, flaws
    if is_moment(array.type):
        raise wrong_type(column, array.type)
    values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    is_bad = ~(np.isnan(values) | (values == 0) | (values == 1))
    flaws = [
        not_a_boolean(row, column.name, str(array[row].as_py()))
        for row in np.flatnonzero(is_bad).tolist()
    ]
    return np.where(is_bad, np.nan, values), flaws


def datetimes(column: Column, array: pa.Array) -> tuple[Values, list[Flaw]]:
    """(N,) datetime64[us] in UTC, NaT where missing or at fault."""
    if is_text(array.type):
        parsed, flaws = parse(column, array, parse_datetimes, not_a_datetime)
    elif is_moment(array.type):
        zone = getattr(array.type, "tz", None)
        parsed, flaws = array.cast(pa.timestamp("us", zone), safe=False), []
    else:
        raise wrong_type(column, array.type)
    return parsed.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False), flaws


Parser: TypeAlias = Callable[[pa.Array], pa.Array]
Complaint: TypeAlias = Callable[[int, str, str], Flaw]


def parse(
    column: Column, array: pa.Array, parser: Parser, complain: Complaint
) -> tuple[pa.Array, list[Flaw]]:
    """Parse a column of text at once; only if that fails, look for the values at fault."""
    try:
        return parser(array), []
    except pa.ArrowInvalid:
        bad = unparsable(array, parser)
    is_bad = np.zeros(len(array), dtype=bool)
    is_bad[bad] = True
    flaws = [complain(row, column.name, array[row].as_py()) for row in bad]
    return parser(pc.if_else(pa.array(is_bad), None, array)), flaws


def unparsable(array: pa.Array, parser: Parser, start: int = 0) -> list[int]:
    """The rows that the parser refuses, by halving: few bad values cost few calls."""
    try:
        parser(array)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return [start]
        half = len(array) // 2
        return [
            *unparsable(array[:half], parser, start),
            *unparsable(array[half:], parser, start + half),
        ]
    return []


def parse_numbers(array: pa.Array) -> pa.Array:
    return array.cast(pa.float64())


def parse_booleans(array: pa.Array) -> pa.Array:
    found = pc.index_in(pc.utf8_lower(array), pa.array(["false", "true", "0", "1"]))
    if found.null_count > array.null_count:
        raise pa.ArrowInvalid("not a boolean")
    return pc.bit_wise_and(found, 1).cast(pa.float64())


def parse_datetimes(array: pa.Array) -> pa.Array:
    """Naive timestamps in UTC from ISO 8601, with and without a zone, mixed or not."""
    array = pc.replace_substring_regex(array, r"(\.\d{6})\d+", r"\1")
    zoned = pc.match_substring_regex(array, r"\d[ T].*(Z|[+-]\d\d(:?\d\d)?)$")
    there = pc.if_else(zoned, array, None).cast(pa.timestamp("us", "UTC"))
    here = pc.if_else(zoned, None, array).cast(pa.timestamp("us"))
    return pc.coalesce(here, there.cast(pa.timestamp("us")))


def empty_cells(column: Column, values: Values, flaws: Sequence[Flaw]) -> list[Flaw]:
    """The missing values of a column that must not have any."""
    absent = is_missing(values)
    absent[[flaw.row for flaw in flaws]] = False
    message = (
        "is empty, and the schema says `nullable: false`. Fill the value in, or set "
        "`nullable: true` in the schema to have it imputed."
    )
    return [
        Flaw(row, column.name, "missing_value", message) for row in np.flatnonzero(absent).tolist()
    ]


def wrong_type(column: Column, kind: pa.DataType) -> SchemaMismatch:
    return SchemaMismatch(
        f"holds values of type {kind}, and the schema says `kind: {column.kind}`. Convert the "
        "column, or correct the schema.",
        code="wrong_type",
        column=column.name,
    )

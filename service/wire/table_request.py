"""A table that was opened, as a request: its columns by name, its values by the rules of files.

Columns that the schema does not know are passed over. pyarrow is needed here and in
`table_sources`, and by nobody who sends JSON: both are imported with the first such body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from anomaly.arrays import Bool, Float64, Int64, Values
from anomaly.data.convert import plain, scoring_columns, texts, to_values
from anomaly.data.convert import whole as in_one_piece
from anomaly.data.flaws import Flaw
from anomaly.data.records import NumericColumns, Records
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.errors import BadData
from service.settings import Limits
from service.wire.options import Options
from service.wire.refusals import MOST_LISTED, Code, InvalidRequest, RowError, shown
from service.wire.request import (
    Complaints,
    ScoreRequest,
    check_count,
    check_names,
    concluded,
    sound_records,
)

CODES = {
    "not_a_number": Code.NOT_A_NUMBER,
    "not_finite": Code.NON_FINITE,
    "not_a_boolean": Code.NOT_A_BOOLEAN,
    "not_a_datetime": Code.NOT_A_DATETIME,
}
"""Of flaws of values as files have them; the flaws' own messages quote the values."""

MESSAGES = {
    Code.NOT_A_NUMBER: "must be a number with a decimal point and nothing between the thousands, "
    "or empty",
    Code.NON_FINITE: "must be a finite number, or empty",
    Code.NOT_A_BOOLEAN: "must be true, false, 1, 0 or empty",
    Code.NOT_A_DATETIME: "must be an ISO 8601 date or time, or empty",
    Code.MISSING_VALUE: "is empty, and the schema says that it must not be",
    Code.TOO_MANY_MISSING: "too many of the needed columns are empty",
    Code.RAGGED_ROW: "has more or fewer values than the header has names",
}


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a body.

    Attributes:
        table: The rows that have a value, if only an empty one, for each column.
        rows: (len(table),) where they stand among the rows of the piece.
        n_rows: Of the piece.
        ragged: Where the other rows stand.
    """

    table: pa.Table
    rows: Int64
    n_rows: int
    ragged: tuple[int, ...] = ()


@dataclass(frozen=True)
class Source:
    """A body that was opened.

    Attributes:
        names: Of all its columns.
        unsupported: Those that cannot be read.
        pieces: Of given columns, in the order of the body.
    """

    names: tuple[str, ...]
    unsupported: frozenset[str]
    pieces: Callable[[Sequence[str]], Iterator[Piece]]


def request_of(source: Source, schema: Schema, limits: Limits, options: Options) -> ScoreRequest:
    """The rows of a body, converted and checked.

    A row with several values that cannot be read is named by the first: to look for each would let
    a byte cost a search.

    Raises:
        NotATable: the body is damaged, or of another format.
        TooLarge: more rows, columns or bytes unpacked than the limits.
        InvalidRequest: a column is missing, repeated or of a type that it cannot have, or (mode
            strict) a row is faulty.
    """
    check_names(source.names, schema, limits, others=True)
    columns = scoring_columns(schema, source.names)
    if odd := [column.name for column in columns if column.name in source.unsupported]:
        raise wrong_type(odd)
    complaints = Complaints(MESSAGES)
    ids: dict[str, list[Any]] = {c.name: [] for c in columns if c.role is Role.ID}
    parts: list[Records] = []
    places: list[Int64] = []
    n_rows = 0
    for piece in source.pieces([column.name for column in columns]):
        for row in piece.ragged:
            complaints.add(Code.RAGGED_ROW, n_rows + row)
        for name in ids:
            ids[name] += _ids_of(piece, name)
        records, rows = converted(piece, schema.required, n_rows, complaints)
        parts.append(records)
        places.append(rows)
        n_rows += piece.n_rows
        check_most(n_rows, limits)
    check_count(n_rows, limits)
    records, kept = sound_records(
        Records.concatenate(parts),
        {},
        np.concatenate(places).tolist(),
        schema,
        limits,
        complaints,
    )
    return concluded(records, kept, n_rows, ids, options.alpha, options.mode, complaints)


def converted(
    piece: Piece, columns: Sequence[Column], before: int, complaints: Complaints
) -> tuple[Records, Int64]:
    """The rows of a piece whose values can all be read, and where they stand in the body.

    Args:
        before: How many rows stand before the piece.

    Raises:
        InvalidRequest: a column is of a type that it cannot have.
    """
    names = tuple(column.name for column in columns)
    places = before + piece.rows
    if (block := numbers_of(piece.table, columns)) is not None:
        return Records(NumericColumns(names, block), len(block)), places
    blamed = np.zeros(len(places), dtype=bool)
    values: dict[str, Values] = {}
    for column in columns:
        values[column.name], flaws = _values(column, piece.table[column.name], blamed)
        for flaw in flaws:
            complaints.add(CODES[flaw.code], int(places[flaw.row]), column.name)
            blamed[flaw.row] = True
    if _are_numeric(columns):
        block = np.column_stack([values[name] for name in names])
        return Records(NumericColumns(names, block), len(block)).take(~blamed), places[~blamed]
    return Records(values, len(blamed)).take(~blamed), places[~blamed]


def numbers_of(table: pa.Table, columns: Sequence[Column]) -> Float64 | None:
    """(N, C) the columns at once, NaN where missing, if all are finite numbers by their types."""
    kinds = [table.schema.field(column.name).type for column in columns]
    if not all(column.kind is Kind.NUMERIC for column in columns) or not all(
        map(_is_number, kinds)
    ):
        return None
    block = np.empty((len(table), len(columns)))
    for place, column in enumerate(columns):
        block[:, place] = table[column.name].to_numpy()
    return None if np.isinf(block).any() else block


def check_most(n_rows: int, limits: Limits) -> None:
    """Refuse more rows than the limit, and take none for now.

    Raises:
        TooLarge: there are more.
    """
    check_count(max(n_rows, 1), limits)


def _values(column: Column, found: pa.ChunkedArray, blamed: Bool) -> tuple[Values, list[Flaw]]:
    """The values of a column, those of blamed rows as missing, and what is wrong with others."""
    try:
        array = plain(column.name, in_one_piece(found))
        if blamed.any():
            array = pc.if_else(pa.array(blamed), pa.scalar(None, array.type), array)
        return to_values(column, array)
    except BadData as error:
        raise wrong_type([column.name]) from error


def _ids_of(piece: Piece, name: str) -> list[Any]:
    """(n_rows,) identifiers of a piece as they came, None where a row has none."""
    array = plain(name, in_one_piece(piece.table[name]))
    is_plain = _is_number(array.type) or pa.types.is_boolean(array.type)
    values: list[Any] = array.to_pylist() if is_plain else texts(array).tolist()
    if not piece.ragged:
        return values
    found: list[Any] = [None] * piece.n_rows
    for row, value in zip(piece.rows.tolist(), values, strict=True):
        found[row] = value
    return found


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _are_numeric(columns: Sequence[Column]) -> bool:
    return all(column.kind is Kind.NUMERIC for column in columns)


def wrong_type(names: Sequence[str]) -> InvalidRequest:
    what = (
        "is of a type that it cannot have. Write numbers as float64, truth as boolean, dates as "
        "timestamp and names as text"
    )
    errors = [RowError(None, shown(name), "wrong_type", what) for name in names]
    listed = ", ".join(f'"{error.column}"' for error in errors[:MOST_LISTED])
    return InvalidRequest(f"{what}: {listed}.", code="wrong_type", errors=errors)

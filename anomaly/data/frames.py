"""DataFrames and arrays as records, with the same refusals as files (a row instead of a line)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from anomaly.data.chunks import first_of_each_row
from anomaly.data.convert import is_text, scoring_columns, to_records
from anomaly.data.flaws import shown
from anomaly.data.records import Records
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.errors import BadData, SchemaMismatch

if TYPE_CHECKING:
    import pandas as pd


def records_from_frame(
    frame: pd.DataFrame, schema: Schema, *, columns: Iterable[Column] | None = None
) -> Records:
    """The columns of a DataFrame that the schema names; its index is not looked at.

    None, NaN, NaT and pd.NA are missing.

    Args:
        columns: Which columns to read; by default those that a score needs, and the ids that
            are present.

    Raises:
        SchemaMismatch: a column is missing or repeated, or a value does not fit; names the row
            (by position, from 0) and the column.
        BadData: there is no row, or a column is of a type that is not supported.
    """
    names = column_names(frame)
    wanted = tuple(scoring_columns(schema, names) if columns is None else columns)
    schema.check_names(names, required=wanted)
    if not len(frame):
        raise BadData("the frame has no row.", code="no_rows")
    table = table_from_frame(frame.iloc[:, [names.index(column.name) for column in wanted]])
    return unflawed(table, wanted)


def records_from_array(values: npt.ArrayLike, schema: Schema) -> Records:
    """An array (N, D) of numbers whose D columns are the features and context of the schema.

    NaN is missing.

    Raises:
        SchemaMismatch: the array has not two axes or not D columns, holds inf, or the schema
            asks for something else than numbers.
    """
    array = np.array(values, dtype=np.float64, order="F")  # a copy: Arrow shares its memory
    columns = schema.required
    if array.ndim != 2 or array.shape[1] != len(columns):
        raise SchemaMismatch(
            f"expected an array of shape (N, {len(columns)}), got {array.shape}. Its columns are, "
            f"in this order: {', '.join(column.name for column in columns[:20])}.",
            code="wrong_shape",
        )
    for column in columns:
        if column.kind not in (Kind.NUMERIC, Kind.BOOLEAN):
            raise SchemaMismatch(
                f"is {column.kind}, which an array of numbers cannot hold. Pass a DataFrame.",
                code="wrong_type",
                column=column.name,
            )
    table = pa.table({column.name: array[:, i] for i, column in enumerate(columns)})
    return unflawed(table, columns)


def unflawed(table: pa.Table, columns: Sequence[Column]) -> Records:
    """The records of the table; the first value at fault is refused."""
    records, flaws = to_records(table, columns)
    for flaw in first_of_each_row(flaws)[:1]:
        raise SchemaMismatch(flaw.message, code=flaw.code, row=flaw.row, column=flaw.column)
    return records


def schema_of_array(n_features: int, names: Sequence[str] | None = None) -> Schema:
    """Numeric features only, called `names`, by default x0, x1, ..."""
    called = [f"x{i}" for i in range(n_features)] if names is None else names
    return Schema(tuple(Column(name, Kind.NUMERIC, Role.FEATURE) for name in called))


def table_from_frame(frame: pd.DataFrame) -> pa.Table:
    """The columns of a DataFrame as typed Arrow columns; text is a dictionary.

    Objects of mixed types become their text.

    Raises:
        BadData: a column is of a type that is not supported.
    """
    names = column_names(frame)
    return pa.table([arrow_of(name, frame.iloc[:, i]) for i, name in enumerate(names)], names=names)


def column_names(frame: pd.DataFrame) -> list[str]:
    """The names as text; an empty one is called by its position, as in files."""
    return [str(name) or f"Unnamed: {i}" for i, name in enumerate(frame.columns)]


def arrow_of(name: str, series: pd.Series[Any]) -> pa.Array:
    """One column as an Arrow array, NaN as null."""
    if getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert(None)
    try:
        array = as_text(series) if is_mixed(series) else pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError) as error:
        raise BadData(
            f"holds values of type {series.dtype}, which is not supported. Convert it to numbers, "
            "dates or text.",
            code="unsupported_type",
            column=name,
        ) from error
    except UnicodeEncodeError as error:
        raise BadData(
            f"holds {shown(error.object)}, which is not text: a surrogate stands alone.",
            code="bad_text",
            column=name,
        ) from error
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.dictionary_encode() if is_text(array.type) else array


def is_mixed(series: pd.Series[Any]) -> bool:
    """Whether text stands beside other objects, for which Arrow has no type."""
    if series.dtype != object:
        return False
    types = {type(value) for value in series[series.notna()]}
    return str in types and len(types) > 1


def as_text(series: pd.Series[Any]) -> pa.Array:
    absent = series.isna()
    return pa.array(
        [None if gone else str(value) for value, gone in zip(series, absent, strict=True)],
        pa.string(),
    )

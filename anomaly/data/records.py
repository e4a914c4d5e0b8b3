"""Rows of a table as columns of NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomaly.arrays import Bool, Float64, Int64, Values
from anomaly.data.schema import Column
from anomaly.errors import BadData, SchemaMismatch

TEXT = 10
"""How many times as large as its pointer a text is, roughly."""


@dataclass(frozen=True)
class NumericColumns(Mapping[str, Float64]):
    """Columns that are all numbers, held as one array: what costs a microsecond for each column
    of `Records` is most of the time of a few rows.

    Attributes:
        names: Of the C columns.
        matrix: (N, C).
    """

    names: tuple[str, ...]
    matrix: Float64

    def __getitem__(self, name: str) -> Float64:
        column: Float64 = self.matrix[:, self._place[name]]
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def complete(self) -> bool:
        """Whether no value is missing."""
        return not np.isnan(self.matrix).any()

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}


@dataclass(frozen=True)
class Records:
    """N rows, held by column.

    One representation for each kind: numeric (N,) float64, NaN is missing; boolean (N,) float64
    of 0, 1 or NaN; categorical (N,) object of str or None; datetime (N,) datetime64[us], NaT is
    missing. Identifiers and labels are kept as text, (N,) object of str or None, whatever
    their kind.
    """

    columns: Mapping[str, Values]
    n_rows: int

    def __post_init__(self) -> None:
        if isinstance(self.columns, NumericColumns) and len(self.columns.matrix) == self.n_rows:
            return
        for name, values in self.columns.items():
            if values.shape != (self.n_rows,):
                raise BadData(
                    f"has shape {values.shape}, expected ({self.n_rows},): "
                    "all columns must be as long as each other",
                    code="ragged_columns",
                    column=name,
                )

    def __len__(self) -> int:
        return self.n_rows

    @property
    def nbytes(self) -> int:
        """The memory that they take, texts roughly."""
        if isinstance(self.columns, NumericColumns):
            return self.columns.matrix.nbytes
        return sum(
            values.nbytes * (TEXT if values.dtype.hasobject else 1)
            for values in self.columns.values()
        )

    def take(self, rows: Int64 | Bool | slice) -> Records:
        """The given rows, in the given order."""
        if isinstance(self.columns, NumericColumns):
            matrix = self.columns.matrix[rows]
            return Records(NumericColumns(self.columns.names, matrix), len(matrix))
        columns = {name: values[rows] for name, values in self.columns.items()}
        taken = next(iter(columns.values()), np.arange(self.n_rows)[rows])
        return Records(columns, len(taken))

    @staticmethod
    def concatenate(parts: Iterable[Records]) -> Records:
        """All rows of all parts, which must have the same columns.

        Raises:
            BadData: there is no part at all.
        """
        chunks = list(parts)
        if not chunks:
            raise BadData("there are no rows to read", code="no_rows")
        n_rows = sum(len(chunk) for chunk in chunks)
        together = _side_by_side([chunk.columns for chunk in chunks])
        if together is not None:
            return Records(together, n_rows)
        columns = {
            name: np.concatenate([chunk.columns[name] for chunk in chunks])
            for name in chunks[0].columns
        }
        return Records(columns, n_rows)

    def numbers(self, names: tuple[str, ...]) -> Float64:
        """(N, C) columns of these names, which must hold numbers; not to be written to."""
        if isinstance(self.columns, NumericColumns) and self.columns.names == names:
            return self.columns.matrix
        matrix = np.empty((len(self), len(names)))
        for place, name in enumerate(names):
            matrix[:, place] = self.columns[name]
        return matrix

    def gaps(self, columns: Iterable[Column]) -> Iterator[tuple[Column, Bool]]:
        """Those of the columns that lack a value somewhere, and (N,) where."""
        if isinstance(self.columns, NumericColumns) and self.columns.complete:
            return
        for column in columns:
            absent = is_missing(self.columns[column.name])
            if absent.any():
                yield column, absent


def _side_by_side(chunks: Sequence[Mapping[str, Values]]) -> NumericColumns | None:
    """All rows of all chunks, if each holds the same columns as one array."""
    arrays = [chunk for chunk in chunks if isinstance(chunk, NumericColumns)]
    if len(arrays) < len(chunks) or len({array.names for array in arrays}) != 1:
        return None
    return NumericColumns(arrays[0].names, np.concatenate([array.matrix for array in arrays]))


def is_missing(values: Values) -> Bool:
    """(N,) True where the value is missing, in whichever representation of `Records`."""
    if values.dtype == object:
        return np.array([value is None for value in values], dtype=bool)
    absent: Bool = np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)
    return absent


def check_nullability(columns: Iterable[Column], records: Records) -> None:
    """Refuse a missing value in a column that the schema calls not nullable.

    Raises:
        SchemaMismatch: names the column and the first row.
    """
    needed = (c for c in columns if not c.nullable and c.name in records.columns)
    for column, absent in records.gaps(needed):
        raise SchemaMismatch(
            "is empty, and the schema says `nullable: false`. Fill the value in, or set "
            "`nullable: true` in the schema to have it imputed.",
            code="missing_value",
            row=int(np.argmax(absent)),
            column=column.name,
        )

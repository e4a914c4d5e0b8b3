"""Rows of a table as columns of NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Bool, Int64, Values
from anomaly.data.schema import Column
from anomaly.errors import BadData, SchemaMismatch


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

    def take(self, rows: Int64 | Bool | slice) -> Records:
        """The given rows, in the given order."""
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
        columns = {
            name: np.concatenate([chunk.columns[name] for chunk in chunks])
            for name in chunks[0].columns
        }
        return Records(columns, sum(len(chunk) for chunk in chunks))


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
    for column in columns:
        if column.nullable or column.name not in records.columns:
            continue
        absent = is_missing(records.columns[column.name])
        if absent.any():
            raise SchemaMismatch(
                "is empty, and the schema says `nullable: false`. Fill the value in, or set "
                "`nullable: true` in the schema to have it imputed.",
                code="missing_value",
                row=int(np.argmax(absent)),
                column=column.name,
            )

"""The usual request, read at once: rows of numbers, and nothing wrong with them.

What is unusual in any way is left to `service.wire.request`, which says what is wrong and where.
This one says nothing: it only has to be right about what it takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from anomaly.arrays import Float64, Int64
from anomaly.data.records import NumericColumns, Records
from anomaly.data.schema import Kind, Schema
from service.settings import Limits
from service.wire.values import LARGEST_EXACT_INTEGER

MOST_ORDERS = 64
"""Orders of columns that are remembered: each caller has one."""


class Numbers(msgspec.Struct, forbid_unknown_fields=True):
    """A body of rows, or of records; nothing but numbers and null."""

    columns: tuple[str, ...] | UnsetType = UNSET
    rows: list[list[float | None]] | UnsetType = UNSET
    records: list[dict[str, float | None]] | UnsetType = UNSET
    alpha: float | None = None
    mode: str | None = None


class NumberReader:
    """Reads bodies for one schema."""

    def __init__(self, schema: Schema, limits: Limits) -> None:
        self._names = tuple(column.name for column in schema.required)
        self._applies = all(column.kind is Kind.NUMERIC for column in schema.required)
        self._never_missing = not all(column.nullable for column in schema.required)
        self._limits = limits
        self._decoder = msgspec.json.Decoder(Numbers)
        self._orders: dict[tuple[str, ...], Int64] = {}

    def read(self, body: bytes) -> tuple[Records, Numbers] | None:
        """The rows and what came with them, or None if anything is unusual."""
        if not self._applies:
            return None
        try:
            numbers = self._decoder.decode(body)
        except (ValueError, RecursionError):
            return None
        matrix = self._matrix(numbers)
        if matrix is None or not self._is_sound(matrix):
            return None
        return Records(NumericColumns(self._names, matrix), len(matrix)), numbers

    def _matrix(self, numbers: Numbers) -> Float64 | None:
        """(N, C) in the order of the schema."""
        match numbers:
            case Numbers(columns=UnsetType(), rows=UnsetType(), records=list(records)):
                return self._from_records(records)
            case Numbers(columns=tuple(columns), rows=list(rows), records=UnsetType()):
                if (order := self._order(columns)) is None:
                    return None
                matrix = self._array(rows)
                return matrix if matrix is None or columns == self._names else matrix[:, order]
        return None

    def _from_records(self, records: Sequence[dict[str, float | None]]) -> Float64 | None:
        if any(len(record) != len(self._names) for record in records):
            return None
        try:
            return self._array([[record[name] for name in self._names] for record in records])
        except KeyError:
            return None

    def _array(self, rows: Sequence[Sequence[float | None]]) -> Float64 | None:
        if not 0 < len(rows) <= self._limits.rows:
            return None
        try:
            matrix = np.array(rows, dtype=np.float64)
        except ValueError:  # ragged
            return None
        return matrix if matrix.shape == (len(rows), len(self._names)) else None

    def _order(self, columns: tuple[str, ...]) -> Int64 | None:
        """Where each column of the schema stands among those sent, if they are the same. Bodies are
        read in several threads at once."""
        known = self._orders.get(columns)
        if known is not None:
            return known
        if len(columns) != len(self._names) or set(columns) != set(self._names):
            return None
        place = {name: at for at, name in enumerate(columns)}
        order = np.array([place[name] for name in self._names], dtype=np.int64)
        if len(self._orders) >= MOST_ORDERS:
            self._orders = {}
        self._orders[columns] = order
        return order

    def _is_sound(self, matrix: Float64) -> bool:
        """Whether every row may be scored as it is. JSON has no other NaN than null."""
        exact = np.abs(matrix) < LARGEST_EXACT_INTEGER
        if exact.all():
            return True
        missing = np.isnan(matrix)
        most = self._limits.missing_fraction * len(self._names)
        return bool(
            not self._never_missing
            and (exact | missing).all()
            and (missing.sum(axis=1) <= most).all()
        )

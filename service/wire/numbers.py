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

MOST_REMEMBERED_BYTES = 64 * 2**10
"""Of the text of an order: white space can make it as long as a body."""

NO_COLUMNS = msgspec.Raw(b"")

LARGEST_SQUARE = float(LARGEST_EXACT_INTEGER) ** 2


class Numbers(msgspec.Struct, forbid_unknown_fields=True):
    """A body of rows, or of records; nothing but numbers and null.

    The columns stay text: every caller sends the same again and again, and to look the text up is
    cheaper than to read it.
    """

    columns: msgspec.Raw = NO_COLUMNS
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
        self._names_decoder = msgspec.json.Decoder(tuple[str, ...])
        self._own_order = np.arange(len(self._names))
        self._orders: dict[bytes, Int64] = {}

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
        columns, rows, records = bytes(numbers.columns), numbers.rows, numbers.records
        if isinstance(records, list):
            return self._from_records(records) if rows is UNSET and not columns else None
        if not isinstance(rows, list) or (order := self._order(columns)) is None:
            return None
        matrix = self._array(rows)
        return matrix if matrix is None or order is self._own_order else matrix[:, order]

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

    def _order(self, columns: bytes) -> Int64 | None:
        """Where each column of the schema stands among those sent, if they are the same. Bodies are
        read in several threads at once."""
        known = self._orders.get(columns)
        return known if known is not None else self._new_order(columns)

    def _new_order(self, columns: bytes) -> Int64 | None:
        try:
            names = self._names_decoder.decode(columns)
        except (ValueError, RecursionError):
            return None
        if len(names) != len(self._names) or set(names) != set(self._names):
            return None
        place = {name: at for at, name in enumerate(names)}
        order = np.array([place[name] for name in self._names], dtype=np.int64)
        order = self._own_order if names == self._names else order
        if len(self._orders) >= MOST_ORDERS:
            self._orders = {}
        if len(columns) <= MOST_REMEMBERED_BYTES:
            self._orders[columns] = order
        return order

    def _is_sound(self, matrix: Float64) -> bool:
        """Whether every row may be scored as it is. JSON has no other NaN than null."""
        # No square exceeds their sum, and a sum with NaN is below nothing: one pass for the usual.
        if np.vdot(matrix, matrix) < LARGEST_SQUARE:
            return True
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

"""Rows by column: taken, joined, and checked for what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomaly.data.records import NumericColumns, Records, check_nullability, is_missing
from anomaly.data.schema import Column, Kind
from anomaly.errors import BadData, SchemaMismatch


def records(n: int = 4) -> Records:
    return Records(
        {
            "x": np.arange(n, dtype=np.float64),
            "kind": np.array([f"k{i}" for i in range(n)], dtype=object),
        },
        n,
    )


def test_columns_are_as_long_as_each_other() -> None:
    with pytest.raises(BadData) as refusal:
        Records({"x": np.zeros(3), "y": np.zeros(2)}, 3)
    assert (refusal.value.code, refusal.value.column) == ("ragged_columns", "y")


def test_rows_are_taken_by_number_mask_and_slice() -> None:
    for rows in (np.array([1, 3]), np.array([False, True, False, True]), slice(1, None, 2)):
        taken = records().take(rows)
        assert taken.columns["x"].tolist() == [1, 3]
        assert taken.columns["kind"].tolist() == ["k1", "k3"]
        assert len(taken) == 2


def test_rows_without_columns_are_still_counted() -> None:
    assert len(Records({}, 5).take(slice(2))) == 2


def test_what_is_cut_can_be_joined_again() -> None:
    whole = records()

    joined = Records.concatenate([whole.take(slice(0, 1)), whole.take(slice(1, None))])

    for name, values in whole.columns.items():
        np.testing.assert_array_equal(joined.columns[name], values)
    with pytest.raises(BadData) as refusal:
        Records.concatenate([])
    assert refusal.value.code == "no_rows"


def test_missing_is_nan_nat_or_none() -> None:
    for values in (
        np.array([1.0, np.nan]),
        np.array(["2024-01-01", "NaT"], dtype="datetime64[us]"),
        np.array(["", None], dtype=object),
    ):
        assert is_missing(values).tolist() == [False, True]


def test_a_missing_value_is_refused_where_the_schema_wants_one() -> None:
    table = Records({"x": np.array([1.0, np.nan])}, 2)

    check_nullability([Column("x", Kind.NUMERIC), Column("gone", Kind.NUMERIC)], table)
    with pytest.raises(SchemaMismatch) as refusal:
        check_nullability([Column("x", Kind.NUMERIC, nullable=False)], table)
    assert (refusal.value.row, refusal.value.column) == (1, "x")
    assert refusal.value.code == "missing_value"


class TestNumericColumns:
    """One array, or an array for each column: the same rows."""

    NAMES = ("a", "b", "c")
    MATRIX = np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0], [7.0, 8.0, 9.0]])

    def together(self) -> Records:
        return Records(NumericColumns(self.NAMES, self.MATRIX), 3)

    def apart(self) -> Records:
        return Records({name: self.MATRIX[:, n] for n, name in enumerate(self.NAMES)}, 3)

    def test_columns_are_found_by_name(self) -> None:
        columns = self.together().columns

        assert list(columns) == list(self.NAMES)
        assert len(columns) == 3
        for name, expected in self.apart().columns.items():
            np.testing.assert_array_equal(columns[name], expected)
        with pytest.raises(KeyError):
            columns["d"]

    @pytest.mark.parametrize("rows", [slice(1, 3), np.array([2, 0]), np.array([True, False, True])])
    def test_rows_are_taken_alike(self, rows: Any) -> None:
        there, here = self.apart().take(rows), self.together().take(rows)

        assert len(there) == len(here)
        np.testing.assert_array_equal(there.numbers(self.NAMES), here.numbers(self.NAMES))

    def test_parts_of_either_kind_can_be_put_together(self) -> None:
        expected = np.concatenate([self.MATRIX, self.MATRIX])
        for parts in (
            [self.together(), self.together()],
            [self.together(), self.apart()],
            [self.apart(), self.together()],
        ):
            found = Records.concatenate(parts)
            assert len(found) == 6
            np.testing.assert_array_equal(found.numbers(self.NAMES), expected)

    @pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "a"), ()], ids=str)
    def test_numbers_come_in_the_order_that_is_asked_for(self, names: tuple[str, ...]) -> None:
        places = [self.NAMES.index(name) for name in names]
        for records in (self.together(), self.apart()):
            np.testing.assert_array_equal(records.numbers(names), self.MATRIX[:, places])

    def test_gaps_are_found_by_column(self) -> None:
        columns = [Column(name, Kind.NUMERIC) for name in self.NAMES]
        for records in (self.together(), self.apart()):
            ((column, absent),) = records.gaps(columns)
            assert column.name == "b"
            assert absent.tolist() == [False, True, False]

    def test_another_number_of_rows_is_refused(self) -> None:
        with pytest.raises(BadData, match="expected"):
            Records(NumericColumns(self.NAMES, self.MATRIX), 4)

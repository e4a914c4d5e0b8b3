"""Rows by column: taken, joined, and checked for what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.data.records import Records, check_nullability, is_missing
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

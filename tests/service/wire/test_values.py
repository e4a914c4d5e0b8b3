"""JSON values become arrays by strict types; what is wrong is named by its position."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.data.schema import Column, Cycle, Kind
from service.wire.refusals import Code
from service.wire.values import check_ids, convert, convert_all

NUMBER = Column("x", Kind.NUMERIC)
BOOLEAN = Column("x", Kind.BOOLEAN)
CATEGORY = Column("x", Kind.CATEGORICAL)
TIME = Column("x", Kind.DATETIME, cycles=(Cycle.HOUR_OF_DAY,))


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        (NUMBER, "1.5", Code.NOT_A_NUMBER),
        (NUMBER, True, Code.NOT_A_NUMBER),
        (NUMBER, [], Code.NOT_A_NUMBER),
        (NUMBER, math.nan, Code.NON_FINITE),
        (NUMBER, -math.inf, Code.NON_FINITE),
        (NUMBER, 2**53 + 1, Code.PRECISION_LOSS),
        (NUMBER, -(10**400), Code.PRECISION_LOSS),
        (BOOLEAN, 1, Code.NOT_A_BOOLEAN),
        (BOOLEAN, "true", Code.NOT_A_BOOLEAN),
        (CATEGORY, 7, Code.NOT_TEXT),
        (CATEGORY, False, Code.NOT_TEXT),
        (CATEGORY, "a\0b", Code.BAD_TEXT),
        (CATEGORY, "\ud800", Code.BAD_TEXT),
        (CATEGORY, "\udc00 and \ud83d", Code.BAD_TEXT),
        (TIME, "yesterday", Code.NOT_A_DATETIME),
        (TIME, "", Code.NOT_A_DATETIME),
        (TIME, "\ud800", Code.NOT_A_DATETIME),
        (TIME, "0001-01-01T00:00:00+14:00", Code.NOT_A_DATETIME),
        (TIME, 1714521600, Code.NOT_A_DATETIME),
    ],
)
def test_a_wrong_value_is_named_and_its_neighbours_are_read(
    column: Column, value: Any, code: Code
) -> None:
    good: dict[Kind, Any] = {
        Kind.NUMERIC: 1.5,
        Kind.BOOLEAN: True,
        Kind.CATEGORICAL: "north",
        Kind.DATETIME: "2024-05-01",
    }
    neighbour = good[column.kind]

    array, faults = convert(column, [neighbour, value, None, neighbour])
    expected, none = convert(column, [neighbour, None, None, neighbour])

    assert (faults, none) == ({1: code}, {})
    assert [str(v) for v in array] == [str(v) for v in expected]


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)))
def test_every_finite_number_is_kept_to_the_bit(values: list[float | None]) -> None:
    array, faults = convert(NUMBER, values)

    assert faults == {}
    assert [None if math.isnan(v) else v for v in array.tolist()] == values


@given(st.lists(st.integers(-(2**60), 2**60)))
def test_an_integer_is_either_exact_or_refused(values: list[int]) -> None:
    array, faults = convert(NUMBER, values)

    for position, value in enumerate(values):
        assert (position in faults) == (abs(value) > 2**53)
        assert position in faults or int(array[position]) == value


numbers_or_worse = st.none() | st.floats() | st.integers() | st.booleans() | st.text(max_size=2)


@given(st.lists(st.lists(numbers_or_worse, min_size=3, max_size=3), min_size=1, max_size=4))
def test_numeric_columns_read_together_are_read_as_each_alone(columns: list[list[Any]]) -> None:
    schema = [Column(f"x{i}", Kind.NUMERIC) for i in range(len(columns))]

    together = convert_all(schema, {f"x{i}": values for i, values in enumerate(columns)})

    for column, values in zip(schema, columns, strict=True):
        array, faults = convert(column, values)
        assert together[column.name][1] == faults
        np.testing.assert_array_equal(together[column.name][0], array)


def test_null_is_missing_in_the_way_of_each_kind() -> None:
    assert math.isnan(convert(NUMBER, [None])[0][0])
    assert math.isnan(convert(BOOLEAN, [None])[0][0])
    assert convert(CATEGORY, [None])[0][0] is None
    assert np.isnat(convert(TIME, [None])[0][0])


def test_true_and_false_are_one_and_zero() -> None:
    assert convert(BOOLEAN, [True, False])[0].tolist() == [1.0, 0.0]


def test_a_time_with_a_zone_is_taken_to_utc_and_one_without_is_utc() -> None:
    times, faults = convert(
        TIME, ["2024-05-01T14:00:00+02:00", "2024-05-01T12:00:00", "2024-05-01"]
    )

    assert faults == {}
    assert times.astype(str).tolist() == [
        "2024-05-01T12:00:00.000000",
        "2024-05-01T12:00:00.000000",
        "2024-05-01T00:00:00.000000",
    ]


def test_ids_come_back_as_they_are_or_are_refused() -> None:
    kept: list[Any] = ["a", 7, 2**63, 1.5, True, None]
    refused: list[Any] = ["\ud800", [], 2**64, math.nan, -(10**30)]

    ids, faults = check_ids(kept + refused)

    assert ids == kept + [None] * len(refused)
    assert list(faults.values()) == [
        Code.NOT_AN_ID,
        Code.BAD_TEXT,
        Code.PRECISION_LOSS,
        Code.NON_FINITE,
        Code.PRECISION_LOSS,
    ]

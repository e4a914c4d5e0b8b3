"""One representation for each kind, from text and from typed columns."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import compute as pc

from anomaly.arrays import Values
from anomaly.data.convert import NUMBER, to_records, to_values
from anomaly.data.flaws import Flaw
from anomaly.data.schema import Column, Kind, Role
from anomaly.errors import BadData, SchemaMismatch


def converted(kind: Kind, array: pa.Array) -> tuple[Values, list[Flaw]]:
    role = Role.TIME if kind is Kind.DATETIME else Role.FEATURE
    return to_values(Column("x", kind, role), array)


def code_of(kind: Kind, text: str) -> str | None:
    _, flaws = converted(kind, pa.array(["", text]).filter(pa.array([False, True])))
    return flaws[0].code if flaws else None


# C9


@pytest.mark.parametrize(
    "text",
    [
        "NA",
        "null",
        "1,5",
        "1,000.5",
        " 1",
        "1 ",
        "0x10",
        "1_000",
        "1d5",
        "--1",
        "1e",
        "٣",
        "",
        "e5",
    ],
)
def test_text_that_is_not_a_number_is_refused(text: str) -> None:
    assert code_of(Kind.NUMERIC, text) == "not_a_number"


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e400", "-1e400", "Infinity"])
def test_numbers_that_are_not_finite_are_refused(text: str) -> None:
    assert code_of(Kind.NUMERIC, text) == "not_finite"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("NA", "leave the cell empty"),
        ("1,5", "decimal point"),
        (" 1", "blanks"),
        ("abc", "kind: categorical"),
        ("1e400", "too large"),
        ("x" * 1000, "xxx..."),
    ],
)
def test_a_refusal_says_what_to_do(text: str, advice: str) -> None:
    _, (flaw,) = converted(Kind.NUMERIC, pa.array([text]))

    assert advice in flaw.message
    assert len(flaw.message) < 250


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_to_the_last_bit(value: float) -> None:
    values, flaws = converted(Kind.NUMERIC, pa.array([repr(value)]))

    assert flaws == []
    assert values[0] == value
    assert math.copysign(1, values[0]) == math.copysign(1, value)


@given(st.text(alphabet="+-.0159eE ", max_size=8))
def test_what_looks_like_a_number_is_one_and_nothing_else_is(text: str) -> None:
    looks = pc.match_substring_regex(pa.array([text]), NUMBER)[0].as_py()

    is_number = code_of(Kind.NUMERIC, text) != "not_a_number"

    assert is_number == looks


def test_integers_beyond_two_to_the_53_are_read_to_the_nearest_number() -> None:
    text, _ = converted(Kind.NUMERIC, pa.array([str(2**60 + 1)]))
    typed, _ = converted(Kind.NUMERIC, pa.array([2**60 + 1]))

    assert text[0] == typed[0] == float(2**60 + 1)


def test_of_many_values_exactly_those_at_fault_are_found_and_the_others_kept() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=1000)
    bad = np.sort(rng.choice(1000, 50, replace=False))
    texts = [repr(float(x)) for x in numbers]
    for i in bad:
        texts[i] = rng.choice(["NA", "inf", "?"])

    values, flaws = converted(Kind.NUMERIC, pa.array(texts))

    assert sorted(flaw.row for flaw in flaws) == bad.tolist()
    np.testing.assert_array_equal(values, np.where(np.isin(np.arange(1000), bad), np.nan, numbers))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", 1), ("FALSE", 0), ("True", 1), ("0", 0), ("1", 1), ("yes", None), ("2", None)],
)
def test_booleans_are_true_false_1_and_0_in_any_case(text: str, expected: float | None) -> None:
    values, _ = converted(Kind.BOOLEAN, pa.array([text, None]))

    assert np.isnan(values[1])
    assert (None if np.isnan(values[0]) else values[0]) == expected
    assert code_of(Kind.BOOLEAN, text) == (None if expected is not None else "not_a_boolean")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31 13:45", "2024-01-31T13:45"),
        ("2024-01-31T13:45:01.123456789", "2024-01-31T13:45:01.123456"),
        ("2024-01-31T13:45:00Z", "2024-01-31T13:45:00"),
        ("2024-01-31T13:45:00+02:00", "2024-01-31T11:45:00"),
        ("2024-01-31 01:45:00.5-0300", "2024-01-31T04:45:00.5"),
        ("0001-01-01", "0001-01-01"),
        ("31.01.2024", None),
        ("01/31/2024", None),
        ("2024-02-30", None),
        ("1706708700", None),
        ("yesterday", None),
    ],
)
def test_dates_are_iso_8601_and_a_zone_is_taken_to_utc(text: str, expected: str | None) -> None:
    values, _ = converted(Kind.DATETIME, pa.array([text, None, "2000-01-01T00:00:00+01:00"]))

    assert values.dtype == np.dtype("datetime64[us]")
    assert np.isnat(values[1])
    assert values[2] == np.datetime64("1999-12-31T23:00:00")
    if expected is None:
        assert code_of(Kind.DATETIME, text) == "not_a_datetime"
    else:
        assert values[0] == np.datetime64(expected)


# typed columns


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1, None], pa.int8()), [1, np.nan]),
        (pa.array([2**64 - 1], pa.uint64()), [2.0**64]),
        (pa.array(np.array([0.5], np.float16)), [0.5]),
        (pa.array([0.5, None, np.nan]), [0.5, np.nan, np.nan]),
        (pa.array([True, None]), [1, np.nan]),
        (pa.nulls(2), [np.nan, np.nan]),
        (pa.array(["1.5", None]).dictionary_encode(), [1.5, np.nan]),
        (pa.array(["1.5"], pa.large_string()), [1.5]),
    ],
)
def test_typed_columns_are_cast_to_numbers_and_nan_is_missing(
    array: pa.Array, expected: list[float]
) -> None:
    values, flaws = converted(Kind.NUMERIC, array)

    assert flaws == []
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, expected)


def test_infinity_in_a_typed_column_is_refused() -> None:
    values, (flaw,) = converted(Kind.NUMERIC, pa.array([1.0, np.nan, np.inf]))

    assert (flaw.row, flaw.code) == (2, "not_finite")
    np.testing.assert_array_equal(values, [1, np.nan, np.nan])


def test_typed_numbers_are_booleans_if_they_are_0_and_1() -> None:
    values, (flaw,) = converted(Kind.BOOLEAN, pa.array([0.0, 1.0, np.nan, 0.5]))

    assert (flaw.row, flaw.code) == (3, "not_a_boolean")
    np.testing.assert_array_equal(values, [0, 1, np.nan, np.nan])


def test_moments_of_any_zone_and_unit_are_utc_microseconds() -> None:
    noon = datetime(2024, 1, 31, 12, tzinfo=UTC)
    for array in (
        pa.array([noon], pa.timestamp("ns", "UTC")),
        pa.array([noon], pa.timestamp("s", "Asia/Tokyo")),
        pa.array([noon.replace(tzinfo=None)], pa.timestamp("ms")),
    ):
        values, _ = converted(Kind.DATETIME, array)
        assert values[0] == np.datetime64("2024-01-31T12:00:00")
        assert values.dtype == np.dtype("datetime64[us]")
    values, _ = converted(Kind.DATETIME, pa.array([noon.date()], pa.date32()))
    assert values[0] == np.datetime64("2024-01-31")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array(["a", None, "a"]), ["a", None, "a"]),
        (pa.array([1, None]), ["1", None]),
        (pa.array([True]), ["true"]),
        (pa.array([], pa.string()), []),
        (pa.nulls(1), [None]),
    ],
)
def test_categories_are_text_and_missing_is_none(
    array: pa.Array, expected: list[str | None]
) -> None:
    values, _ = converted(Kind.CATEGORICAL, array)

    assert values.dtype == object
    assert values.tolist() == expected


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        (Kind.NUMERIC, pa.array([datetime(2024, 1, 1)])),
        (Kind.BOOLEAN, pa.array([datetime(2024, 1, 1)])),
        (Kind.DATETIME, pa.array([1.5])),
    ],
)
def test_a_type_that_contradicts_the_kind_is_refused(kind: Kind, array: pa.Array) -> None:
    with pytest.raises(SchemaMismatch) as refusal:
        converted(kind, array)
    assert (refusal.value.code, refusal.value.column) == ("wrong_type", "x")


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int64()),
        pa.struct([("a", pa.int64())]),
        pa.decimal128(9),
        pa.binary(),
        pa.duration("s"),
        pa.time32("s"),
        pa.dictionary(pa.int8(), pa.binary()),
        pa.uuid(),
    ],
)
def test_nested_binary_decimal_and_extension_types_are_refused(kind: pa.DataType) -> None:
    with pytest.raises(BadData) as refusal:
        converted(Kind.CATEGORICAL, pa.nulls(1, kind))
    assert (refusal.value.code, refusal.value.column) == ("unsupported_type", "x")


def test_a_missing_value_is_a_flaw_where_the_schema_wants_one_and_only_once() -> None:
    table = pa.table({"x": ["1", None, "oops"], "name": ["a", None, None]})
    columns = (
        Column("x", Kind.NUMERIC, nullable=False),
        Column("name", Kind.NUMERIC, Role.ID, nullable=False),
    )

    records, flaws = to_records(table, columns)

    assert {(flaw.row, flaw.column, flaw.code) for flaw in flaws} == {
        (1, "x", "missing_value"),
        (2, "x", "not_a_number"),
        (1, "name", "missing_value"),
        (2, "name", "missing_value"),
    }
    assert len(records) == 3

"""DataFrames and arrays give the records that a file of the same table gives."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from anomaly.data.frames import (
    records_from_array,
    records_from_frame,
    schema_of_array,
    table_from_frame,
)
from anomaly.data.infer import infer_schema
from anomaly.data.readers import read_records
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.errors import BadData, SchemaMismatch

MIXED = Schema(
    (
        Column("id", Kind.CATEGORICAL, Role.ID),
        Column("x", Kind.NUMERIC),
        Column("kind", Kind.CATEGORICAL),
        Column("on", Kind.BOOLEAN),
    )
)


def test_a_frame_and_its_csv_file_are_the_same_records(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "on": [True, False, True],
            "kind": ["a", None, "b"],
            "x": [1.5, np.nan, -2e-9],
            "id": ["u", "v", "w"],
            "more": [1, 2, 3],
        },
        index=[7, 7, 7],
    )
    frame.to_csv(tmp_path / "t.csv", index=False)

    ours, of_file = records_from_frame(frame, MIXED), read_records(tmp_path / "t.csv", MIXED)

    assert list(ours.columns) == list(of_file.columns)
    for name, values in of_file.columns.items():
        np.testing.assert_array_equal(ours.columns[name], values)
        assert ours.columns[name].dtype == values.dtype


@pytest.mark.parametrize(
    ("series", "kind"),
    [
        (pd.Series([1, 2], dtype="int8"), Kind.NUMERIC),
        (pd.Series([1, None], dtype="Int64"), Kind.NUMERIC),
        (pd.Series([1.0, 2], dtype="float32"), Kind.NUMERIC),
        (pd.Series([1, 2.5, None], dtype=object), Kind.NUMERIC),
        (pd.Series(["a", "b"], dtype=object), Kind.CATEGORICAL),
        (pd.Series(["1", "2"], dtype=object), Kind.CATEGORICAL),
        (pd.Series(["1", None], dtype="string"), Kind.CATEGORICAL),
        (pd.Series(["1", None], dtype="category"), Kind.CATEGORICAL),
        (pd.Series([1, "a", None, 2.5], dtype=object), Kind.CATEGORICAL),
        (pd.Series([True, False]), Kind.BOOLEAN),
        (pd.Series([True, None], dtype="boolean"), Kind.BOOLEAN),
        (pd.Series([True, None], dtype=object), Kind.BOOLEAN),
        (pd.Series(pd.to_datetime(["2024-01-01", ""])), Kind.DATETIME),
        (pd.Series(pd.to_datetime(["2024-01-01"])).dt.tz_localize("Asia/Tokyo"), Kind.DATETIME),
    ],
)
def test_the_type_of_a_column_says_its_kind(series: pd.Series, kind: Kind) -> None:
    schema, _ = infer_schema(table_from_frame(pd.DataFrame({"x": series, "f": 0.5})))

    assert schema.column("x").kind is kind


def test_mixed_objects_become_their_text() -> None:
    frame = pd.DataFrame({"x": pd.Series([1, "a", None, 2.5], dtype=object)})
    schema = Schema((Column("x", Kind.CATEGORICAL),))

    assert records_from_frame(frame, schema).columns["x"].tolist() == ["1", "a", None, "2.5"]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([1], "unsupported_type"),
        (1 + 2j, "unsupported_type"),
        (Decimal("1.5"), "unsupported_type"),
        (pd.Timedelta("1s"), "unsupported_type"),
        (object(), "unsupported_type"),
        ("\ud800", "bad_text"),
    ],
)
def test_values_that_no_column_can_hold_are_refused_by_column(value: object, code: str) -> None:
    frame = pd.DataFrame({"x": pd.Series([value], dtype=object)})

    with pytest.raises(BadData) as refusal:
        records_from_frame(frame, Schema((Column("x", Kind.CATEGORICAL),)))
    assert (refusal.value.code, refusal.value.column) == (code, "x")


def test_refusals_name_row_and_column() -> None:
    schema = Schema((Column("x", Kind.NUMERIC), Column("y", Kind.NUMERIC)))
    frame = pd.DataFrame({"x": [1, 2, np.inf], "y": ["1", "oops", "2"]}, index=list("abc"))

    with pytest.raises(SchemaMismatch) as refusal:
        records_from_frame(frame, schema)

    assert (refusal.value.row, refusal.value.column, refusal.value.line) == (1, "y", None)
    assert refusal.value.code == "not_a_number"


def test_missing_repeated_columns_and_empty_frames_are_refused() -> None:
    schema = Schema((Column("x", Kind.NUMERIC),))
    for frame, code in (
        (pd.DataFrame({"y": [1]}), "missing_column"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "duplicate_column"),
        (pd.DataFrame({"x": []}), "no_rows"),
    ):
        with pytest.raises(BadData) as refusal:
            records_from_frame(frame, schema)
        assert refusal.value.code == code


def test_names_that_are_numbers_are_written_out() -> None:
    table = table_from_frame(pd.DataFrame([[1.0, 2.0]]))

    assert table.column_names == ["0", "1"]


def test_an_array_holds_the_features_in_their_order() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(50, 3))
    array[4, 1] = np.nan

    records = records_from_array(array, schema_of_array(3))

    assert list(records.columns) == ["x0", "x1", "x2"]
    np.testing.assert_array_equal(np.column_stack(list(records.columns.values())), array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_records_do_not_change_when_the_array_does(order: Literal["C", "F"]) -> None:
    array = np.zeros((4, 2), order=order)

    records = records_from_array(array, schema_of_array(2, ["a", "b"]))
    array[:] = 1

    assert records.columns["a"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("shape", [(3,), (3, 3), (3, 2, 1)])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SchemaMismatch, match=r"\(N, 2\)") as refusal:
        records_from_array(np.zeros(shape), schema_of_array(2))
    assert refusal.value.code == "wrong_shape"


def test_an_array_with_infinity_is_refused_with_row_and_column() -> None:
    array = np.zeros((3, 2))
    array[2, 0] = array[1, 1] = -np.inf

    with pytest.raises(SchemaMismatch) as refusal:
        records_from_array(array, schema_of_array(2))
    assert (refusal.value.row, refusal.value.column) == (1, "x1")
    assert refusal.value.code == "not_finite"


def test_an_array_cannot_hold_categories() -> None:
    schema = Schema((Column("x", Kind.CATEGORICAL),))

    with pytest.raises(SchemaMismatch, match="DataFrame"):
        records_from_array(np.zeros((2, 1)), schema)


def test_text_in_a_frame_is_a_dictionary() -> None:
    table = table_from_frame(pd.DataFrame({"x": ["a", "b", "a"]}))

    assert pa.types.is_dictionary(table["x"].type)

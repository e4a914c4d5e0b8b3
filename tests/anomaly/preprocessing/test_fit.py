"""Fitting a preprocessor: what is kept, what is dropped, and what is said about it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from anomaly.arrays import Float64
from anomaly.data.records import Records
from anomaly.data.schema import Column, Cycle, Kind, Role, Schema
from anomaly.errors import SchemaMismatch
from anomaly.preprocessing.encodings import (
    BooleanEncoding,
    CategoricalEncoding,
    CyclicEncoding,
    NumericEncoding,
)
from anomaly.preprocessing.fit import (
    MOST_QUANTILES,
    PreprocessingWarning,
    default_numeric_inputs,
    fit_numeric,
    fit_preprocessor,
)
from anomaly.preprocessing.numbers import NumericColumns
from anomaly.preprocessing.preprocessor import NumericInputs, WarningCode
from tests.contracts.parts import Array

RNG = np.random.default_rng(0)
VARIED = RNG.normal(size=50)


def names(*values: str | None) -> Array:
    return np.array([*values, None], dtype=object)[:-1]


def numbers(**columns: Float64) -> tuple[Schema, Records]:
    schema = Schema(tuple(Column(name, Kind.NUMERIC) for name in columns))
    return schema, Records(columns, len(next(iter(columns.values()))))


def test_each_kind_has_its_encoding_ordered_numbers_cycles_booleans_categories() -> None:
    schema = Schema(
        (
            Column("site", Kind.CATEGORICAL),
            Column("open", Kind.BOOLEAN),
            Column("taken", Kind.DATETIME, cycles=(Cycle.HOUR_OF_DAY, Cycle.DAY_OF_WEEK)),
            Column("flow", Kind.NUMERIC),
            Column("serial", Kind.CATEGORICAL, Role.ID),
        )
    )
    records = Records(
        {
            "site": names("b", "a", "b"),
            "open": np.array([0.0, 1.0, 1.0]),
            "taken": np.array(["2024-01-01", "2024-01-02", "NaT"], "datetime64[us]"),
            "flow": np.array([1.0, 2.0, 4.0]),
            "serial": names("x", "y", "z"),
        },
        3,
    )
    encodings = fit_preprocessor(schema, records).features.encodings
    assert [type(e) for e in encodings] == [
        NumericEncoding,
        CyclicEncoding,
        CyclicEncoding,
        BooleanEncoding,
        CategoricalEncoding,
    ]
    assert encodings[-1] == CategoricalEncoding("site", ("a", "b"))


@pytest.mark.parametrize(
    "constant",
    [
        np.full(50, 3.5),
        np.zeros(50),
        np.where(np.arange(50) % 7 == 0, np.nan, 2.0),
        0.3 + 1e-16 * np.arange(50),
        np.full(50, np.nan),
    ],
    ids=["constant", "zero", "constant where present", "rounding", "empty"],
)
def test_a_column_with_one_value_is_dropped_with_a_warning(constant: Float64) -> None:
    schema, records = numbers(varied=VARIED, still=constant)
    with pytest.warns(PreprocessingWarning, match="'still'"):
        preprocessor = fit_preprocessor(schema, records)
    assert preprocessor.features.target_columns == ("varied",)
    assert [c.name for c in preprocessor.constants] == ["still"]
    # Its own rows are not remarked on.
    codes = {warning.code for warning in preprocessor.warnings(records)}
    assert WarningCode.CHANGED_CONSTANT not in codes


def test_constants_of_every_kind_are_dropped() -> None:
    schema = Schema(
        (
            Column("varied", Kind.NUMERIC),
            Column("one", Kind.CATEGORICAL),
            Column("none", Kind.CATEGORICAL),
            Column("off", Kind.BOOLEAN),
            Column("never", Kind.DATETIME, cycles=(Cycle.HOUR_OF_DAY,)),
        )
    )
    records = Records(
        {
            "varied": np.arange(3.0),
            "one": names("a", None, "a"),
            "none": names(None, None, None),
            "off": np.zeros(3),
            "never": np.full(3, "NaT", "datetime64[us]"),
        },
        3,
    )
    with pytest.warns(PreprocessingWarning, match="4 constant"):
        preprocessor = fit_preprocessor(schema, records)
    assert {c.name: c.value for c in preprocessor.constants} == {
        "one": "a",
        "none": None,
        "off": 0.0,
        "never": None,
    }


@pytest.mark.parametrize("values", [[0.0, 1.0], [1e9, 1e9 + 1], [5e-324, 0.0], [1e308, -1e308]])
def test_a_column_with_two_values_is_kept(values: list[float]) -> None:
    schema, records = numbers(x=np.array(values * 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_preprocessor(schema, records).constants == ()


def test_when_every_feature_is_constant_there_is_nothing_to_model() -> None:
    schema, records = numbers(a=np.ones(9), b=np.zeros(9))
    with pytest.raises(SchemaMismatch, match="nothing to model") as refused:
        fit_preprocessor(schema, records)
    assert refused.value.code == "all_constant"


def test_a_constant_context_column_is_dropped_too() -> None:
    schema = Schema((Column("x", Kind.NUMERIC), Column("site", Kind.CATEGORICAL, Role.CONTEXT)))
    records = Records({"x": np.arange(4.0), "site": names(*"aaaa")}, 4)
    with pytest.warns(PreprocessingWarning, match="'site'"):
        preprocessor = fit_preprocessor(schema, records)
    assert preprocessor.transform(records).context.shape == (4, 0)


def test_missing_values_do_not_count_in_the_moments() -> None:
    holes = np.where(np.arange(50) % 3 == 0, np.nan, VARIED)
    schema, records = numbers(x=holes)
    encoding = fit_preprocessor(schema, records).features.encodings[0]
    assert isinstance(encoding, NumericEncoding)
    scaler = StandardScaler().fit(holes[:, None])
    np.testing.assert_allclose(
        [encoding.center, encoding.scale], [scaler.mean_[0], scaler.scale_[0]]
    )


@pytest.mark.parametrize("n", [2, 3, 100, MOST_QUANTILES, 5000])
def test_the_rank_map_has_as_many_points_as_rows_up_to_a_limit(n: int) -> None:
    encoding = fit_numeric("x", np.random.default_rng(n).normal(size=n))
    assert len(encoding.quantiles) == len(encoding.normal_scores) == min(n, MOST_QUANTILES)
    assert (np.diff(encoding.quantiles) >= 0).all()
    assert (np.diff(encoding.normal_scores) >= 0).all()
    assert (encoding.quantiles[0], encoding.quantiles[-1]) == (encoding.low, encoding.high)


@pytest.mark.parametrize("exponent", [-900, -300, 0, 300, 1000])
def test_the_unit_of_a_column_does_not_matter(exponent: int) -> None:
    """In units that differ by a power of two every constant is the same to the bit."""
    here = NumericColumns.of([fit_numeric("x", VARIED)])
    there = NumericColumns.of([fit_numeric("x", VARIED * 2.0**exponent)])
    probe = np.linspace(-5, 5, 101)[:, None]
    scaled = probe * 2.0**exponent
    assert there.standardised(scaled).tolist() == here.standardised(probe).tolist()
    assert there.ranked(scaled).tolist() == here.ranked(probe).tolist()


def test_wide_tables_are_shown_to_the_encoder_without_ranks() -> None:
    assert default_numeric_inputs(256) is NumericInputs.BOTH
    assert default_numeric_inputs(257) is NumericInputs.STANDARDISED


def test_a_mask_is_shown_only_for_columns_that_were_sometimes_missing() -> None:
    schema, records = numbers(full=VARIED, holes=np.where(np.arange(50) == 3, np.nan, VARIED))
    assert fit_preprocessor(schema, records).features.with_mask == ("holes",)

"""Numbers: finite, monotone and invertible, whatever comes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from anomaly.arrays import Float64
from anomaly.preprocessing.fit import fit_numeric
from anomaly.preprocessing.numbers import (
    LINEAR_RANGE,
    RANGE_MARGIN,
    NumericColumns,
    compressed,
    in_scales,
    power_of_two,
)

any_number = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.3e-308, 1e308, -1e308, sys.float_info.max]),
)
training = (
    st.lists(any_number, min_size=2, max_size=40)
    .filter(lambda values: len(set(values)) > 1)
    .map(lambda values: np.array(values))
)
rows = st.lists(any_number, min_size=1, max_size=20).map(lambda values: np.sort(np.array(values)))


def columns_of(values: Float64) -> NumericColumns:
    """A table of one numeric column, fitted on these values (n,)."""
    return NumericColumns.of([fit_numeric("x", values)])


def alone(method: Callable[[Float64], Any], values: Float64) -> Any:
    """A method of `NumericColumns`, applied to the values (N,) of a single column."""
    return method(values[:, None])[:, 0]


NORMAL = columns_of(np.random.default_rng(0).normal(5.0, 2.0, 400))
SKEWED_ROWS = np.random.default_rng(1).lognormal(0.0, 2.0, 1000)
SKEWED = columns_of(SKEWED_ROWS)


class TestNumbers:
    def test_standardising_is_scikit_learns_standard_scaler(self) -> None:
        values = np.random.default_rng(0).normal(5.0, 2.0, 400)
        expected = StandardScaler().fit_transform(values[:, None])[:, 0]
        np.testing.assert_allclose(
            alone(NORMAL.standardised, values), expected, rtol=1e-12, atol=1e-14
        )

    def test_ranking_is_scikit_learns_quantile_transformer_inside_the_range(self) -> None:
        reference = QuantileTransformer(
            n_quantiles=257, output_distribution="normal", subsample=None
        ).fit(SKEWED_ROWS[:, None])
        inner = np.quantile(SKEWED_ROWS, np.linspace(0.02, 0.98, 200))
        expected = reference.transform(inner[:, None])[:, 0]
        np.testing.assert_allclose(alone(SKEWED.ranked, inner), expected, atol=0.02)

    def test_ranks_of_the_training_rows_look_normal(self) -> None:
        assert stats.kstest(alone(SKEWED.ranked, SKEWED_ROWS), "norm").pvalue > 0.9

    def test_the_outermost_ranks_are_half_a_row_from_the_end(self) -> None:
        ends = alone(SKEWED.ranked, np.array([SKEWED.low[0], SKEWED.high[0]]))
        np.testing.assert_allclose(ends, stats.norm.ppf([0.5 / 1000, 1 - 0.5 / 1000]))

    @pytest.mark.parametrize("distance", [0.0, 1.0, 10.0, 1e6])
    def test_outside_the_range_ranks_continue_linearly(self, distance: float) -> None:
        high = alone(SKEWED.ranked, np.array([SKEWED.high[0]]))
        beyond = alone(SKEWED.ranked, np.array([SKEWED.high[0] + distance * SKEWED.scale[0]]))
        np.testing.assert_allclose(beyond - high, distance, rtol=1e-9)
        low = alone(SKEWED.ranked, np.array([SKEWED.low[0]]))
        below = alone(SKEWED.ranked, np.array([SKEWED.low[0] - distance * SKEWED.scale[0]]))
        np.testing.assert_allclose(below - low, -distance, rtol=1e-9)

    def test_equal_training_values_share_one_rank(self) -> None:
        """Half of the rows are 0: their rank is the mean over them, not that of either end."""
        values = np.concatenate([np.zeros(50), np.arange(1.0, 51.0)])
        encoding = columns_of(values)
        middle = float(stats.norm.ppf(np.clip(np.linspace(0, 0.495, 50), 0.005, 1)).mean())
        assert alone(encoding.ranked, np.array([0.0]))[0] == pytest.approx(middle, abs=0.05)
        quantiles, normal_scores = encoding.ranks[0]
        assert len(set(normal_scores)) == len(set(quantiles))

    def test_targets_are_linear_up_to_a_thousand_deviations_and_logarithmic_beyond(self) -> None:
        z = np.array([-1e9, -1000.0, -3.0, 0.0, 999.0, 1000.0, 1001.0, 1e9])
        found = compressed(z)
        assert found[1:6].tolist() == z[1:6].tolist()
        assert found[6] == LINEAR_RANGE + math.log(2)
        assert found[0] == -found[7]
        assert (np.diff(found) > 0).all()

    def test_what_the_encoder_sees_saturates_three_deviations_outside_the_range(self) -> None:
        edge = NORMAL.high[0] + RANGE_MARGIN * NORMAL.scale[0]
        values = np.array([NORMAL.high[0], edge - 1e-9, edge, edge + 1, 1e308])
        assert alone(NORMAL.saturated, values).tolist() == [*values[:2], edge, edge, edge]
        assert alone(NORMAL.out_of_range, values).tolist() == [False, False, False, True, True]
        assert not alone(NORMAL.out_of_range, np.array([np.nan]))[0]

    @given(fitted=training, values=rows)
    def test_saturating_after_standardising_is_the_same_to_the_bit(
        self, fitted: Float64, values: Float64
    ) -> None:
        columns = columns_of(fitted)
        np.testing.assert_array_equal(
            alone(columns.saturated_standardised, alone(columns.standardised, values)),
            alone(columns.standardised, alone(columns.saturated, values)),
        )

    def test_missing_stays_missing(self) -> None:
        nothing = np.array([np.nan])
        assert np.isnan(alone(NORMAL.standardised, nothing))[0]
        assert np.isnan(alone(NORMAL.ranked, nothing))[0]
        assert np.isnan(compressed(nothing))[0]

    @given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=10))
    def test_restoring_inverts_standardising(self, values: list[float]) -> None:
        array = np.array(values)
        np.testing.assert_allclose(
            alone(NORMAL.restore, alone(NORMAL.standardised, array)), array, rtol=1e-9, atol=1e-9
        )


def seen_by_the_encoder(encoding: NumericColumns, values: Float64) -> Float64:
    inside = alone(encoding.saturated, values)
    both: Float64 = np.stack([alone(encoding.standardised, inside), alone(encoding.ranked, inside)])
    return both


class TestEveryFiniteNumber:
    @pytest.mark.filterwarnings("error")
    @given(fit_rows=training, values=rows)
    def test_gives_finite_features_whatever_the_training_rows_were(
        self, fit_rows: Float64, values: Float64
    ) -> None:
        encoding = columns_of(fit_rows)
        values = np.sort(np.concatenate([values, fit_rows]))
        inputs = seen_by_the_encoder(encoding, values).astype(np.float32)
        assert np.isfinite(inputs).all()
        assert np.abs(inputs).max() < 100
        for z in (alone(encoding.standardised, values), alone(encoding.ranked, values)):
            assert np.isfinite(z).all()
            assert np.isfinite(compressed(z)).all()
            assert np.abs(compressed(z)).max() < 2000

    @given(fit_rows=training, values=rows)
    def test_gives_features_in_its_own_order(self, fit_rows: Float64, values: Float64) -> None:
        encoding = columns_of(fit_rows)
        values = np.sort(np.concatenate([values, fit_rows]))
        for z in (alone(encoding.standardised, values), alone(encoding.ranked, values)):
            target = compressed(z)
            slack = 1e-12 * np.maximum(1, np.abs(target[1:]))
            assert (np.diff(target) >= -slack).all()

    @given(fit_rows=training, targets=st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=5))
    def test_restored_values_are_finite(self, fit_rows: Float64, targets: list[float]) -> None:
        assert np.isfinite(alone(columns_of(fit_rows).restore, np.array(targets))).all()

    @given(value=any_number, origin=any_number, scale=st.floats(1e-300, 1e308))
    def test_gives_a_finite_quotient(self, value: float, origin: float, scale: float) -> None:
        found = in_scales(np.array([value]), np.array([origin]), np.array([scale]))[0]
        assert np.isfinite(found)
        if max(abs(value), abs(origin)) < 1e300 and abs(found) < 1e300:
            assert found == pytest.approx((value - origin) / scale, rel=1e-12, abs=1e-20)

    @given(size=st.floats(5e-324, sys.float_info.max))
    def test_has_a_power_of_two_near_it(self, size: float) -> None:
        unit = power_of_two(size)
        assert math.frexp(unit)[0] == 0.5
        assert 0.5 <= size / unit < 2


class TestSeveralColumns:
    def test_a_column_does_not_see_the_others(self) -> None:
        rng = np.random.default_rng(2)
        values = np.column_stack([rng.normal(5.0, 2.0, 50), rng.lognormal(0.0, 2.0, 50)])
        values[3, 0] = np.nan
        encodings = [
            fit_numeric("x", np.random.default_rng(0).normal(5.0, 2.0, 400)),
            fit_numeric("y", SKEWED_ROWS),
        ]
        together = NumericColumns.of(encodings)
        for column, single in enumerate((NORMAL, SKEWED)):
            for name in ("standardised", "ranked", "saturated", "out_of_range"):
                np.testing.assert_array_equal(
                    getattr(together, name)(values)[:, column],
                    alone(getattr(single, name), values[:, column]),
                )

    @given(values=st.lists(st.floats(0.01, 50), min_size=1, max_size=10))
    def test_restoring_inverts_ranking_within_the_range(self, values: list[float]) -> None:
        array = np.clip(np.array(values), SKEWED.low[0], SKEWED.high[0])
        restored = alone(SKEWED.restore_ranked, alone(SKEWED.ranked, array))
        np.testing.assert_allclose(restored, array, rtol=1e-6)

"""One column at a time: finite, monotone and invertible, whatever number comes."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from anomaly.arrays import Float64
from anomaly.data.schema import Cycle
from anomaly.preprocessing.encodings import (
    LINEAR_RANGE,
    RANGE_MARGIN,
    CategoricalEncoding,
    ConstantColumn,
    CyclicEncoding,
    NumericEncoding,
    cycle_share,
    in_scales,
    power_of_two,
)
from anomaly.preprocessing.fit import fit_numeric

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

NORMAL = fit_numeric("x", np.random.default_rng(0).normal(5.0, 2.0, 400))
SKEWED_ROWS = np.random.default_rng(1).lognormal(0.0, 2.0, 1000)
SKEWED = fit_numeric("x", SKEWED_ROWS)


class TestNumbers:
    def test_standardising_is_scikit_learns_standard_scaler(self) -> None:
        values = np.random.default_rng(0).normal(5.0, 2.0, 400)
        expected = StandardScaler().fit_transform(values[:, None])[:, 0]
        np.testing.assert_allclose(NORMAL.standardised(values), expected, rtol=1e-12, atol=1e-14)

    def test_ranking_is_scikit_learns_quantile_transformer_inside_the_range(self) -> None:
        reference = QuantileTransformer(
            n_quantiles=257, output_distribution="normal", subsample=None
        ).fit(SKEWED_ROWS[:, None])
        inner = np.quantile(SKEWED_ROWS, np.linspace(0.02, 0.98, 200))
        expected = reference.transform(inner[:, None])[:, 0]
        np.testing.assert_allclose(SKEWED.ranked(inner), expected, atol=0.02)

    def test_ranks_of_the_training_rows_look_normal(self) -> None:
        assert stats.kstest(SKEWED.ranked(SKEWED_ROWS), "norm").pvalue > 0.9

    def test_the_outermost_ranks_are_half_a_row_from_the_end(self) -> None:
        ends = SKEWED.ranked(np.array([SKEWED.low, SKEWED.high]))
        np.testing.assert_allclose(ends, stats.norm.ppf([0.5 / 1000, 1 - 0.5 / 1000]))

    @pytest.mark.parametrize("distance", [0.0, 1.0, 10.0, 1e6])
    def test_outside_the_range_ranks_continue_linearly(self, distance: float) -> None:
        high = SKEWED.ranked(np.array([SKEWED.high]))
        beyond = SKEWED.ranked(np.array([SKEWED.high + distance * SKEWED.scale]))
        np.testing.assert_allclose(beyond - high, distance, rtol=1e-9)
        low = SKEWED.ranked(np.array([SKEWED.low]))
        below = SKEWED.ranked(np.array([SKEWED.low - distance * SKEWED.scale]))
        np.testing.assert_allclose(below - low, -distance, rtol=1e-9)

    def test_equal_training_values_share_one_rank(self) -> None:
        """Half of the rows are 0: their rank is the mean over them, not that of either end."""
        encoding = fit_numeric("x", np.concatenate([np.zeros(50), np.arange(1.0, 51.0)]))
        middle = float(stats.norm.ppf(np.clip(np.linspace(0, 0.495, 50), 0.005, 1)).mean())
        assert encoding.ranked(np.array([0.0]))[0] == pytest.approx(middle, abs=0.05)
        assert len(set(encoding.normal_scores)) == len(set(encoding.quantiles))

    def test_targets_are_linear_up_to_a_thousand_deviations_and_logarithmic_beyond(self) -> None:
        z = np.array([-1e9, -1000.0, -3.0, 0.0, 999.0, 1000.0, 1001.0, 1e9])
        found = NORMAL.compressed(z)
        assert found[1:6].tolist() == z[1:6].tolist()
        assert found[6] == LINEAR_RANGE + math.log(2)
        assert found[0] == -found[7]
        assert (np.diff(found) > 0).all()

    def test_what_the_encoder_sees_saturates_three_deviations_outside_the_range(self) -> None:
        edge = NORMAL.high + RANGE_MARGIN * NORMAL.scale
        values = np.array([NORMAL.high, edge - 1e-9, edge, edge + 1, 1e308])
        assert NORMAL.saturated(values).tolist() == [*values[:2], edge, edge, edge]
        assert NORMAL.out_of_range(values).tolist() == [False, False, False, True, True]
        assert not NORMAL.out_of_range(np.array([np.nan]))[0]

    def test_missing_stays_missing(self) -> None:
        nothing = np.array([np.nan])
        assert np.isnan(NORMAL.standardised(nothing))[0]
        assert np.isnan(NORMAL.ranked(nothing))[0]
        assert np.isnan(NORMAL.compressed(nothing))[0]

    @given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=10))
    def test_restoring_inverts_standardising(self, values: list[float]) -> None:
        array = np.array(values)
        np.testing.assert_allclose(
            NORMAL.restore(NORMAL.standardised(array)), array, rtol=1e-9, atol=1e-9
        )


def seen_by_the_encoder(encoding: NumericEncoding, values: Float64) -> Float64:
    inside = encoding.saturated(values)
    both: Float64 = np.stack([encoding.standardised(inside), encoding.ranked(inside)])
    return both


class TestEveryFiniteNumber:
    @pytest.mark.filterwarnings("error")
    @given(fit_rows=training, values=rows)
    def test_gives_finite_features_whatever_the_training_rows_were(
        self, fit_rows: Float64, values: Float64
    ) -> None:
        encoding = fit_numeric("x", fit_rows)
        values = np.sort(np.concatenate([values, fit_rows]))
        inputs = seen_by_the_encoder(encoding, values).astype(np.float32)
        assert np.isfinite(inputs).all()
        assert np.abs(inputs).max() < 100
        for z in (encoding.standardised(values), encoding.ranked(values)):
            assert np.isfinite(z).all()
            assert np.isfinite(encoding.compressed(z)).all()
            assert np.abs(encoding.compressed(z)).max() < 2000

    @given(fit_rows=training, values=rows)
    def test_gives_features_in_its_own_order(self, fit_rows: Float64, values: Float64) -> None:
        encoding = fit_numeric("x", fit_rows)
        values = np.sort(np.concatenate([values, fit_rows]))
        for z in (encoding.standardised(values), encoding.ranked(values)):
            target = encoding.compressed(z)
            slack = 1e-12 * np.maximum(1, np.abs(target[1:]))
            assert (np.diff(target) >= -slack).all()

    @given(fit_rows=training, targets=st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=5))
    def test_restored_values_are_finite(self, fit_rows: Float64, targets: list[float]) -> None:
        assert np.isfinite(fit_numeric("x", fit_rows).restore(np.array(targets))).all()

    @given(value=any_number, origin=any_number, scale=st.floats(1e-300, 1e308))
    def test_gives_a_finite_quotient(self, value: float, origin: float, scale: float) -> None:
        found = in_scales(np.array([value]), origin, scale)[0]
        assert np.isfinite(found)
        if max(abs(value), abs(origin)) < 1e300 and abs(found) < 1e300:
            assert found == pytest.approx((value - origin) / scale, rel=1e-12, abs=1e-20)

    @given(size=st.floats(5e-324, sys.float_info.max))
    def test_has_a_power_of_two_near_it(self, size: float) -> None:
        unit = power_of_two(size)
        assert math.frexp(unit)[0] == 0.5
        assert 0.5 <= size / unit < 2


class TestCategories:
    ENCODING = CategoricalEncoding("site", ("a", "b", "c"))

    def test_known_names_have_their_code_others_the_last_and_missing_none(self) -> None:
        values = np.array(["b", "a", "new", None, "c", ""], dtype=object)
        assert self.ENCODING.codes(values).tolist() == [1, 0, 3, -1, 2, 3]
        assert self.ENCODING.classes == 4

    @given(st.lists(st.one_of(st.none(), st.text()), max_size=10))
    def test_any_text_has_a_code(self, values: list[str | None]) -> None:
        array = np.array([*values, None], dtype=object)[:-1]
        codes = self.ENCODING.codes(array)
        assert ((codes >= -1) & (codes <= 3)).all()


def times(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[us]")


class TestCycles:
    def test_a_minute_before_midnight_is_close_to_midnight(self) -> None:
        encoding = CyclicEncoding("t", Cycle.HOUR_OF_DAY)
        late, early, noon = encoding.phases(
            times("2024-01-01T23:59", "2024-01-02T00:00", "2024-01-02T12:00")
        )
        assert np.linalg.norm(late - early) < 0.01
        assert np.linalg.norm(noon - early) == pytest.approx(2.0)

    @pytest.mark.parametrize(
        ("cycle", "time", "share"),
        [
            (Cycle.HOUR_OF_DAY, "2024-03-05T06:00", 0.25),
            (Cycle.HOUR_OF_DAY, "1955-03-05T18:00", 0.75),
            (Cycle.DAY_OF_YEAR, "2023-01-01T00:00", 0.0),
            (Cycle.DAY_OF_YEAR, "2023-12-31T00:00", 364 / 365),
            (Cycle.DAY_OF_YEAR, "2024-12-31T00:00", 365 / 366),
            (Cycle.DAY_OF_YEAR, "1931-07-02T12:00", 0.5),
        ],
    )
    def test_the_share_of_a_cycle_that_has_passed(
        self, cycle: Cycle, time: str, share: float
    ) -> None:
        assert cycle_share(times(time), cycle)[0] == pytest.approx(share)

    def test_a_week_later_is_the_same_phase_and_weekdays_are_evenly_spaced(self) -> None:
        days = times(*(f"2024-01-{day:02d}T09:00" for day in range(1, 16)))
        share = cycle_share(days, Cycle.DAY_OF_WEEK)
        np.testing.assert_allclose(share[7:], share[:8])
        np.testing.assert_allclose(np.diff(np.sort(share[:7])), 1 / 7)

    @pytest.mark.parametrize("cycle", list(Cycle))
    @given(
        st.datetimes(),
    )
    def test_phases_lie_on_the_unit_circle(self, cycle: Cycle, time: object) -> None:
        moment = np.array([time], dtype="datetime64[us]")
        assert 0 <= cycle_share(moment, cycle)[0] < 1
        phases = CyclicEncoding("t", cycle).phases(moment)
        np.testing.assert_allclose((phases**2).sum(), 1.0)

    @pytest.mark.parametrize("cycle", list(Cycle))
    def test_a_missing_time_has_no_phase(self, cycle: Cycle) -> None:
        assert np.isnan(CyclicEncoding("t", cycle).phases(times("NaT"))).all()


class TestConstants:
    @pytest.mark.parametrize(
        ("value", "same", "other"),
        [
            (3.0, [3.0, np.nan, 3.0 * (1 + 1e-12)], [3.1, -3.0, 1e308]),
            (0.0, [0.0, -0.0, np.nan], [5e-324, 1.0]),
            (1e308, [1e308], [-1e308, 0.0]),
            (None, [np.nan], [0.0, 1.0]),
        ],
    )
    def test_a_number_has_changed_where_it_is_present_and_another_one(
        self, value: float | None, same: list[float], other: list[float]
    ) -> None:
        constant = ConstantColumn("x", value)
        assert not constant.changed(np.array(same)).any()
        assert constant.changed(np.array(other)).all()

    def test_a_name_has_changed_where_it_is_present_and_another_one(self) -> None:
        values = np.array(["a", "b", None], dtype=object)
        assert ConstantColumn("x", "a").changed(values).tolist() == [False, True, False]
        assert ConstantColumn("x", None).changed(values).tolist() == [True, True, False]

    def test_a_time_has_changed_where_the_column_was_always_empty(self) -> None:
        changed = ConstantColumn("x", None).changed(times("NaT", "2024-01-01"))
        assert changed.tolist() == [False, True]


def test_encoding_needs_neither_scikit_learn_nor_scipy_nor_pandas() -> None:
    """What was fitted is constants: the service computes with them alone."""
    program = """
import sys
import numpy as np
from anomaly.preprocessing.encodings import NumericEncoding
from anomaly.preprocessing.preprocessor import NumericInputs, NumericTarget, TableEncoder
from anomaly.data.records import Records
points = np.array([0.0, 1.0])
number = NumericEncoding("x", 0.5, 0.5, 0.0, 1.0, points, points)
encoder = TableEncoder((number,), NumericInputs.BOTH, NumericTarget.STANDARDISED, ())
inputs, targets, observed = encoder.transform(Records({"x": points}, 2))
assert targets.tolist() == [[-1.0], [1.0]]
heavy = {"sklearn", "scipy", "pandas", "torch", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)

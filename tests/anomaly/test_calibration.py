"""Calibration: the stated false-alarm rate holds, and p-values and the threshold agree."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from anomaly.arrays import Float64
from anomaly.calibration import (
    Calibration,
    CalibrationWarning,
    Rule,
    alpha_for_alerts,
    calibrate,
    round_up,
    rows_needed,
    supported,
)
from anomaly.errors import AlphaNotSupported, ConfigInvalid, NotEnoughRows

EVERY_RULE = pytest.mark.parametrize("rule", list(Rule))

finite_scores = st.floats(-1e6, 1e6)
few_values = st.integers(-3, 3).map(float)
calibration_scores = st.one_of(
    st.lists(finite_scores, min_size=1, max_size=60),
    st.lists(few_values, min_size=1, max_size=60),
).map(lambda scores: np.array(scores, dtype=np.float64))


def smallest(n: int) -> float:
    return 1 / (n + 1)


def alphas(n: int) -> st.SearchStrategy[float]:
    return st.one_of(
        st.floats(smallest(n), 0.999), st.integers(1, n).map(lambda k: min(k / (n + 1), 0.999))
    )


class TestTheGuarantee:
    @pytest.mark.parametrize(("n", "alpha"), [(19, 0.05), (30, 0.1), (99, 0.01), (250, 0.05)])
    def test_the_rate_given_the_calibration_rows_follows_the_beta_law(
        self, n: int, alpha: float
    ) -> None:
        """With uniform scores the false-alarm rate of a threshold is 1 minus the threshold."""
        rng = np.random.default_rng(n)
        found = [calibrate(scores, alpha) for scores in rng.random((2000, n))]
        rates = np.array([1 - (c.threshold + c.tolerance) for c in found])

        k = int(alpha * (n + 1) + 1e-9)
        law = stats.beta(k, n + 1 - k)

        assert stats.kstest(rates, law.cdf).pvalue > 1e-3
        assert abs(rates.mean() - k / (n + 1)) < 4 * law.std() / np.sqrt(len(rates))

    @pytest.mark.parametrize("n", [1, 2, 3, 5, 10])
    def test_it_holds_from_one_calibration_row_on(self, n: int) -> None:
        rng = np.random.default_rng(n)
        alpha = smallest(n)
        rates = np.array(
            [1 - calibrate(scores, alpha).threshold for scores in rng.random((4000, n))]
        )
        assert rates.mean() == pytest.approx(alpha, abs=4 * rates.std() / np.sqrt(len(rates)))

    @pytest.mark.parametrize("mean", [0.05, 0.5, 3.0])
    @pytest.mark.parametrize("alpha", [0.02, 0.05, 0.2])
    def test_heavy_ties_never_raise_the_rate_above_alpha(self, mean: float, alpha: float) -> None:
        """The rate of a threshold is exact here: the tail of the Poisson law above it."""
        law = stats.poisson(mean)
        draws = law.rvs((1500, 60), random_state=7).astype(np.float64)
        found = [calibrate(scores, alpha) for scores in draws]
        rates = law.sf([c.threshold + c.tolerance for c in found])
        assert rates.mean() <= alpha + 3.29 * rates.std() / np.sqrt(len(rates))

    def test_without_any_variation_nothing_is_flagged(self) -> None:
        calibration = calibrate(np.full(200, 3.0), 0.05)
        assert calibration.p_values(np.array([3.0]))[0] == 1.0

    def test_p_values_of_new_normal_rows_are_uniform(self) -> None:
        """Over fresh calibration rows each time: uniform on the grid k / (n + 1)."""
        rng = np.random.default_rng(3)
        n = 19
        p = np.array(
            [
                calibrate(row[:n], 0.05).p_values(row[n:])[0]
                for row in rng.standard_normal((5000, n + 1))
            ]
        )
        counts = np.bincount(np.rint(p * (n + 1)).astype(int), minlength=n + 2)[1:]
        assert counts.sum() == len(p)
        assert stats.chisquare(counts).pvalue > 1e-3

    def test_the_quantile_rule_exceeds_alpha_by_at_most_one_over_n_plus_one_on_average(
        self,
    ) -> None:
        rng = np.random.default_rng(4)
        n, alpha = 50, 0.1
        found = [calibrate(scores, alpha, Rule.QUANTILE) for scores in rng.random((4000, n))]
        rates = np.array([1 - c.threshold for c in found])
        slack = 4 * rates.std() / np.sqrt(len(rates))
        assert alpha < rates.mean() <= alpha + 1 / (n + 1) + slack


class TestPValuesAndThreshold:
    @EVERY_RULE
    @given(data=st.data(), scores=calibration_scores)
    def test_a_row_is_flagged_if_and_only_if_it_exceeds_threshold_plus_tolerance(
        self, rule: Rule, data: st.DataObject, scores: Float64
    ) -> None:
        calibration = calibrate(scores, data.draw(alphas(len(scores))), rule)
        row = data.draw(st.one_of(finite_scores, st.sampled_from(scores.tolist())))
        edge = calibration.threshold + calibration.tolerance
        # Within rounding of the edge, s - tolerance > t and s > t + tolerance may differ.
        assume(abs(row - edge) > 1e-12 * max(1.0, abs(row), abs(edge)))

        p = calibration.p_values(np.array([row]))

        assert calibration.is_anomaly(p)[0] == (row > edge)

    @given(data=st.data(), scores=calibration_scores)
    def test_p_values_count_the_calibration_scores_that_reach_the_row(
        self, data: st.DataObject, scores: Float64
    ) -> None:
        calibration = calibrate(scores, data.draw(alphas(len(scores))))
        row = data.draw(finite_scores)
        reach = sum(score >= row - calibration.tolerance for score in scores.tolist())
        expected = (1 + reach) / (len(scores) + 1)
        assert calibration.p_values(np.array([row]))[0] == expected

    @EVERY_RULE
    @given(scores=calibration_scores, rows=st.lists(finite_scores, min_size=1, max_size=20))
    def test_p_values_lie_in_the_unit_interval_and_fall_as_scores_rise(
        self, rule: Rule, scores: Float64, rows: list[float]
    ) -> None:
        p = calibrate(scores, 0.5, rule).p_values(np.sort(np.array(rows)))
        assert (p > 0).all()
        assert (p <= 1).all()
        assert (np.diff(p) <= 0).all()

    @EVERY_RULE
    @given(data=st.data(), scores=calibration_scores)
    def test_a_larger_alpha_flags_the_same_rows_and_more(
        self, rule: Rule, data: st.DataObject, scores: Float64
    ) -> None:
        calibration = calibrate(scores, 0.5, rule)
        rows = np.array(data.draw(st.lists(finite_scores, min_size=1, max_size=20)))
        rates = sorted(data.draw(st.lists(alphas(len(scores)), min_size=2, max_size=5)))
        p = calibration.p_values(rows)
        flags = [calibration.is_anomaly(p, alpha) for alpha in rates]
        for fewer, more in pairwise(flags):
            assert (more | ~fewer).all()

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @EVERY_RULE
    def test_a_score_that_is_not_finite_gets_the_smallest_p_value(
        self, rule: Rule, bad: float
    ) -> None:
        calibration = calibrate(np.arange(99.0), 0.05, rule)
        p = calibration.p_values(np.array([bad, 1e300]))
        assert p[0] == p[1] == 1 / 100
        assert calibration.is_anomaly(p).all()

    @given(rows=st.lists(st.one_of(finite_scores, st.just(np.nan)), min_size=1, max_size=30))
    def test_a_verdict_never_depends_on_the_neighbours(self, rows: list[float]) -> None:
        calibration = calibrate(np.linspace(-5, 5, 99), 0.05)
        together = calibration.p_values(np.array(rows))
        alone = [calibration.p_values(np.array([row]))[0] for row in rows]
        assert together.tolist() == alone

    def test_a_row_a_little_above_the_threshold_counts_as_equal_to_it(self) -> None:
        """A common row on the threshold must not flip by the last bits of another device."""
        calibration = calibrate(np.arange(100.0), 0.05)
        width = calibration.threshold - calibration.median
        near, far = calibration.threshold + np.array([0.9e-4, 1.1e-4]) * width
        assert calibration.is_anomaly(calibration.p_values(np.array([near, far]))).tolist() == [
            False,
            True,
        ]

    @pytest.mark.parametrize("alpha", [0.013, 0.05, 0.31])
    @pytest.mark.parametrize("n", [97, 203, 1001])
    def test_the_quantile_rule_has_numpys_threshold(self, n: int, alpha: float) -> None:
        scores = np.random.default_rng(n).standard_normal(n)
        expected = np.quantile(scores, 1 - alpha, method="inverted_cdf")
        assert calibrate(scores, alpha, Rule.QUANTILE).threshold == expected

    def test_the_order_of_calibration_scores_does_not_matter(self) -> None:
        scores = np.random.default_rng(0).standard_normal(50)
        forward, backward = calibrate(scores, 0.1), calibrate(scores[::-1], 0.1)
        assert forward.threshold == backward.threshold
        assert forward.scores.tolist() == backward.scores.tolist() == sorted(scores)


class TestMargins:
    @given(scores=calibration_scores)
    def test_the_median_row_is_at_0_and_the_threshold_at_1(self, scores: Float64) -> None:
        calibration = calibrate(scores, 0.5 if len(scores) < 20 else 0.05)
        assume(calibration.threshold > calibration.median)
        ends = np.array([calibration.median, calibration.threshold])
        assert calibration.margins(ends) == pytest.approx([0.0, 1.0])

    def test_where_threshold_and_median_coincide_the_next_larger_score_is_at_1(self) -> None:
        calibration = calibrate(np.array([0.0] * 90 + [7.0] * 2 + [9.0] * 2), 0.2)
        assert calibration.threshold == calibration.median == 0.0
        assert calibration.margins(np.array([0.0, 7.0, 14.0])).tolist() == [0.0, 1.0, 2.0]

    def test_where_no_score_is_larger_the_unit_is_the_unit_of_the_score(self) -> None:
        calibration = calibrate(np.full(30, 4.0), 0.1)
        assert calibration.margins(np.array([4.0, 6.5])).tolist() == [0.0, 2.5]
        assert calibration.tolerance == pytest.approx(1e-4)


class TestAlpha:
    def test_by_default_alpha_is_one_percent_where_the_rows_support_it(self) -> None:
        assert calibrate(np.arange(99.0)).alpha == 0.01
        assert calibrate(np.arange(5000.0)).alpha == 0.01

    @pytest.mark.parametrize("n", [1, 2, 10, 98])
    def test_with_fewer_rows_the_default_is_the_smallest_that_works_and_warns(self, n: int) -> None:
        with pytest.warns(CalibrationWarning, match="99 calibration rows would support"):
            calibration = calibrate(np.arange(float(n)))
        assert calibration.alpha == calibration.smallest_alpha == 1 / (n + 1)
        p = calibration.p_values(np.array([1e9]))
        assert calibration.is_anomaly(p)[0]

    def test_an_alpha_that_was_given_and_is_not_supported_is_refused(self) -> None:
        with pytest.raises(AlphaNotSupported):
            calibrate(np.arange(98.0), 0.01)
        with pytest.raises(AlphaNotSupported):
            calibrate(np.arange(99.0), 0.01).with_alpha(0.001)
        with pytest.raises(AlphaNotSupported):
            calibrate(np.arange(99.0), 0.01).is_anomaly(np.array([0.5]), 0.001)

    @pytest.mark.parametrize("unit", ["row", "image", "group"])
    def test_what_is_said_names_what_was_counted(self, unit: str) -> None:
        told = f"^50 calibration {unit}s support no .* 99 calibration {unit}s would support"
        with pytest.warns(CalibrationWarning, match=told):
            calibration = calibrate(np.arange(50.0), unit=unit)
        told = f"needs at least 99 calibration {unit}s, got 50. Add normal {unit}s"
        with pytest.raises(AlphaNotSupported, match=told):
            calibration.with_alpha(0.1).with_alpha(0.01)
        with pytest.raises(AlphaNotSupported, match=told):
            calibration.is_anomaly(np.array([0.5]), 0.01)

    @given(n=st.integers(1, 10**7), share=st.floats(1e-6, 0.999))
    def test_the_advice_of_a_refusal_works_when_followed(self, n: int, share: float) -> None:
        alpha = share / (n + 1)
        with pytest.raises(AlphaNotSupported) as refused:
            supported(alpha, n)
        needed = re.search(r"needs at least (\d+) calibration rows", str(refused.value))
        larger = re.search(r"ask for ([0-9.e-]+) or more", str(refused.value))
        assert needed is not None
        assert larger is not None
        assert supported(alpha, int(needed[1])) == alpha
        assert supported(float(larger[1]), n) == float(larger[1])
        assert float(larger[1]) <= 1.02 / (n + 1)

    def test_rows_needed_is_exact_where_the_rate_is_the_smallest_of_n_rows(self) -> None:
        """Among them 1 / 49 and 1 / 98, whose reciprocals are not whole in float64."""
        numbers = [*range(1, 2000), 123_456]
        assert [rows_needed(1 / (n + 1)) for n in numbers] == numbers

    @given(alpha=st.floats(1e-12, 0.999))
    def test_one_row_less_than_needed_is_refused(self, alpha: float) -> None:
        n = rows_needed(alpha)
        assert supported(alpha, n) == alpha
        if n > 1:
            with pytest.raises(AlphaNotSupported):
                supported(alpha, n - 1)

    @pytest.mark.parametrize("alpha", [5e-324, 1e-320, 1e-300])
    def test_an_absurdly_small_alpha_is_refused_like_any_other(self, alpha: float) -> None:
        with pytest.raises(AlphaNotSupported):
            supported(alpha, 1000)

    @pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
    def test_an_alpha_outside_0_and_1_is_refused(self, alpha: float) -> None:
        with pytest.raises(ConfigInvalid, match="between 0 and 1"):
            calibrate(np.arange(99.0), alpha)

    @given(rate=st.floats(1e-8, 1.0))
    def test_rounding_up_never_goes_below(self, rate: float) -> None:
        assert rate <= round_up(rate) <= 1.011 * rate

    def test_alerts_per_day_become_a_rate(self) -> None:
        assert alpha_for_alerts(5, 10_000) == 0.0005

    @pytest.mark.parametrize(("alerts", "rows"), [(0, 10), (-1, 10), (10, 10), (11, 10)])
    def test_alerts_that_mean_no_rate_are_refused(self, alerts: float, rows: float) -> None:
        with pytest.raises(ConfigInvalid, match="alerts per day"):
            alpha_for_alerts(alerts, rows)

    @EVERY_RULE
    def test_another_alpha_is_what_calibrating_anew_gives(self, rule: Rule) -> None:
        scores = np.random.default_rng(0).standard_normal(500)
        changed = calibrate(scores, 0.01).with_alpha(0.2, rule)
        fresh = calibrate(scores, 0.2, rule)
        assert vars_of(changed) == vars_of(fresh)

    def test_another_alpha_keeps_the_rule(self) -> None:
        calibration = calibrate(np.arange(99.0), 0.01, Rule.QUANTILE)
        assert calibration.with_alpha(0.1).rule is Rule.QUANTILE


@pytest.mark.parametrize("scores", [[], [np.nan], [1.0, np.inf], [-np.inf, 0.0]])
def test_calibration_scores_must_be_there_and_finite(scores: list[float]) -> None:
    with pytest.raises(NotEnoughRows, match="Hold out more normal rows"):
        calibrate(np.array(scores))


def vars_of(calibration: Calibration) -> tuple[list[float], float, Rule, float, float, float]:
    c = calibration
    return c.scores.tolist(), c.alpha, c.rule, c.tolerance, c.threshold, c.median

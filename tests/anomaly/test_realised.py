"""Bounds on the false-alarm rate of one calibration sample."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from anomaly.calibration import Rule, calibrate
from anomaly.realised import beta_quantile, realised_bounds


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize(("n", "alpha"), [(99, 0.01), (120, 0.05), (500, 0.01), (2000, 0.001)])
def test_each_bound_is_kept_by_the_stated_share_of_calibration_samples(
    n: int, alpha: float, rule: Rule
) -> None:
    """Of uniform scores the rate is 1 minus the threshold, but for the tolerance."""
    rng = np.random.default_rng(n)
    found = [calibrate(scores, alpha, rule) for scores in rng.random((4000, n))]
    rates = np.array([1 - c.threshold for c in found])

    lower, upper = realised_bounds(found[0], alpha, confidence=0.9)

    for outside in ((rates < lower).sum(), (rates > upper).sum()):
        assert stats.binomtest(outside, 4000, 0.1).pvalue > 1e-3


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 99), (50, 999), (100, 9_999), (9_999, 10_000)])
@pytest.mark.parametrize("probability", [0.001, 0.5, 0.999])
def test_the_quantiles_are_those_of_scipy(k: int, n: int, probability: float) -> None:
    expected = stats.beta(k, n + 1 - k).ppf(probability)

    assert beta_quantile(k, n, probability) == pytest.approx(expected, rel=1e-6)


def test_they_close_in_on_the_rate_as_rows_are_added() -> None:
    rng = np.random.default_rng(0)
    found = [
        realised_bounds(calibrate(rng.random(n), 0.05), 0.05) for n in (99, 999, 9_999, 99_999)
    ]

    widths = [upper - lower for lower, upper in found]
    assert all(wide > narrow for wide, narrow in pairwise(widths))
    assert found[-1] == pytest.approx((0.05, 0.05), abs=0.003)


def test_where_groups_calibrate_there_is_no_lower_bound() -> None:
    """A flagged group may have a single flagged row among many."""
    scores = np.random.default_rng(0).random(999)

    by_group = realised_bounds(calibrate(scores, 0.01, unit="group"), 0.01)

    assert by_group == (0.0, realised_bounds(calibrate(scores, 0.01), 0.01)[1])


def test_a_rate_that_the_scores_do_not_support_is_never_met() -> None:
    calibration = calibrate(np.random.default_rng(0).random(9), 0.1)

    assert realised_bounds(calibration, 0.05) == (0.0, 0.0)

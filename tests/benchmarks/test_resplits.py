"""The machinery that judges false-alarm rates, on scores whose rates are known."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.arrays import Bool, Float64
from benchmarks.resplits import (
    Flag,
    Rate,
    Resplits,
    conformal,
    off_by_one,
    rate_of,
    rates_by_group,
)

CONTINUOUS = np.random.default_rng(0).standard_normal(5_000)
TIED = np.round(CONTINUOUS)
ONE_VALUE = np.zeros(5_000)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("scores", [CONTINUOUS, TIED, ONE_VALUE], ids=["continuous", "tied", "one"])
def test_conformal_p_values_hold_the_rate_whatever_the_ties(scores: Float64, alpha: float) -> None:
    assert rate_of(Resplits(scores, 99, 400, seed=0), alpha).holds


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_an_index_that_is_one_too_low_is_found_out(alpha: float) -> None:
    assert not rate_of(Resplits(CONTINUOUS, 99, 400, seed=0), alpha, off_by_one).holds


@pytest.mark.parametrize(("flag", "k"), [(conformal, 5), (off_by_one, 6)])
def test_without_ties_the_mean_rate_is_k_of_n_plus_one(flag: Flag, k: int) -> None:
    # The rank of a new score among n calibration scores is uniform on n + 1 places.
    rate = rate_of(Resplits(CONTINUOUS, 99, 2_000, seed=0), 0.05, flag)

    assert abs(rate.mean - k / 100) < 3.29 * rate.standard_error


def test_without_ties_the_rates_spread_as_a_beta_law_says() -> None:
    # Vovk (2012): given the calibration rows the rate is Beta(k, n + 1 - k); here k = 5, n = 99.
    # Many test rows and a pool far larger than n leave next to nothing of their own spread.
    pool = np.random.default_rng(1).standard_normal(50_000)
    rate = rate_of(Resplits(pool, 99, 400, seed=0), 0.05)
    spread = rate.standard_error * np.sqrt(400)

    assert spread == pytest.approx(np.sqrt(0.05 * 0.95 / 101), rel=0.15)


def test_every_row_either_calibrates_or_tests() -> None:
    scores = np.arange(30.0)
    seen: list[Float64] = []

    def spy(calibration: Float64, test: Float64, alpha: float) -> Bool:
        seen.append(np.sort(np.concatenate([calibration, test])))
        return np.zeros(len(test), dtype=bool)

    rows = [test for test, _ in Resplits(scores, 10, 5, seed=3).flags(0.05, spy)]

    assert all((both == scores).all() for both in seen)
    assert all(len(test) == 20 for test in rows)


def test_arriving_scores_are_those_that_are_flagged() -> None:
    worse = Resplits(CONTINUOUS, 99, 20, seed=0, arriving=CONTINUOUS + 100)

    assert rate_of(worse, 0.05).mean == 1.0


def test_rates_by_group_add_up_to_the_rate_of_all() -> None:
    divided = Resplits(CONTINUOUS, 2_500, 100, seed=0)
    groups = np.arange(5_000) % 3

    by_group = rates_by_group(divided, groups, 0.05)

    assert [n for n, _ in by_group.values()] == [1667, 1667, 1666]
    together = sum(n * rate for n, rate in by_group.values()) / 5_000
    assert together == pytest.approx(rate_of(divided, 0.05).mean, abs=2e-4)


def test_a_rate_is_judged_by_the_spread_between_divisions() -> None:
    assert Rate.of(0.05, np.array([0.04, 0.06, 0.05, 0.07])).holds
    assert not Rate.of(0.05, np.array([0.0601, 0.06, 0.0599, 0.06])).holds

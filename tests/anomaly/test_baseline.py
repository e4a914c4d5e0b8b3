"""What is usual, and how far beyond it others are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anomaly.baseline import Baseline, Parts, by_column
from anomaly.calibration import SMALL_P
from anomaly.scores import (
    DEFAULT_SCORE,
    ExemplarKL,
    NearestRow,
    NegativeELBO,
    NegativeIWBound,
    Score,
    ScoreTerms,
)

TARGETS = ("a", "b", "b", "c")


def terms_of(*rows: tuple[float, ...]) -> ScoreTerms:
    return ScoreTerms(np.array(rows), np.arange(float(len(rows))))


def test_terms_of_one_column_are_added_up() -> None:
    columns, per_column = by_column(TARGETS, np.array([[1.0, 2.0, 3.0, 4.0]]))

    assert columns == ("a", "b", "c")
    np.testing.assert_array_equal(per_column, [[1.0, 5.0, 4.0]])


def test_the_usual_is_the_mean_over_calibration_rows() -> None:
    baseline = Baseline.of(TARGETS, terms_of((0, 1, 1, 5), (2, 3, 1, 7)), DEFAULT_SCORE)

    assert baseline.columns == ("a", "b", "c")
    np.testing.assert_array_equal(baseline.per_column, [1.0, 3.0, 6.0])
    assert baseline.rest == 0.5


def some(rows: int, rng: np.random.Generator) -> ScoreTerms:
    """Squared errors, of which few are very large, and some are all the same."""
    errors = rng.standard_t(3, size=(rows, 2)) ** 2
    steps = rng.integers(0, 3, size=(rows, 1)).astype(np.float64)
    return ScoreTerms(np.concatenate([errors, steps], axis=1), np.zeros(rows))


def test_on_normal_rows_errors_are_as_seldom_large_as_stated() -> None:
    """The mean over calibration samples is k / (n + 1), k = floor(0.05 (n + 1)), without ties."""
    rng, rows = np.random.default_rng(0), 99

    shares = [
        Baseline.of("abc", some(rows, rng), DEFAULT_SCORE).large("abc", some(500, rng)).mean(axis=0)
        for _ in range(300)
    ]

    assert np.mean(shares, axis=0)[:2] == pytest.approx([SMALL_P] * 2, abs=0.005)
    assert np.max(shares, axis=0)[2] == 0


def test_errors_are_large_in_the_column_whose_errors_have_grown() -> None:
    """Of squared normal errors with a standard deviation of 3 instead of 1 the share is known."""
    rng = np.random.default_rng(0)
    usual, found = rng.normal(size=(2, 20_000, 2)) ** 2
    found[:, 1] *= 9
    baseline = Baseline.of("ab", ScoreTerms(usual, np.zeros(20_000)), DEFAULT_SCORE)

    shares = baseline.large("ab", ScoreTerms(found, np.zeros(20_000))).mean(axis=0)

    limit = stats.chi2(1).isf(SMALL_P)
    assert shares == pytest.approx([SMALL_P, stats.chi2(1).sf(limit / 9)], rel=0.05)


def test_an_error_that_is_not_finite_is_large_and_a_rounding_is_not() -> None:
    baseline = Baseline.of("a", ScoreTerms(np.full((50, 1), 7.0), np.zeros(50)), DEFAULT_SCORE)
    terms = np.array([[7.0], [7.0 + 1e-9], [7.1], [np.nan], [np.inf]])

    found = baseline.large("a", ScoreTerms(terms, np.zeros(5)))

    assert found[:, 0].tolist() == [False, False, True, True, True]


def test_ranks_are_p_values_of_the_parts() -> None:
    terms = ScoreTerms(np.array([[1.0, 0.0], [1.0, 1.0], [3.0, 0.0]]), np.array([4.0, 6.0, 5.0]))
    baseline = Baseline.of("ab", terms, NegativeELBO())

    ranks = baseline.ranks(ScoreTerms(np.array([[2.0, 0.0], [9.0, 9.0]]), np.array([4.5, 1.0])))

    assert isinstance(ranks, Parts)
    np.testing.assert_array_equal(ranks.reconstruction, [3 / 4, 1 / 4])
    np.testing.assert_array_equal(ranks.kl, [3 / 4, 1.0])


def test_ranks_of_normal_rows_are_uniform() -> None:
    rng = np.random.default_rng(0)

    def with_kl(rows: int) -> ScoreTerms:
        return ScoreTerms(rng.normal(size=(rows, 3)), rng.exponential(size=rows))

    baseline = Baseline.of("abc", with_kl(5_000), NegativeELBO())
    ranks = baseline.ranks(with_kl(2_000))

    assert ranks is not None
    for values in (ranks.reconstruction, ranks.kl):
        assert stats.kstest(values, "uniform").pvalue > 0.001


@pytest.mark.parametrize(
    ("score", "has_parts"),
    [
        (DEFAULT_SCORE, False),
        (NegativeELBO(), True),
        (ExemplarKL(), True),
        (NegativeIWBound(), False),
        (NearestRow(), False),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_only_scores_with_a_kl_have_parts(score: Score, has_parts: bool) -> None:
    baseline = Baseline.of(TARGETS, terms_of((0, 1, 1, 5), (2, 3, 1, 7)), score)

    assert (baseline.parts is not None) is has_parts
    assert (baseline.ranks(terms_of((0, 1, 1, 5))) is not None) is has_parts

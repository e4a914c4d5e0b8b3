"""What is usual, and how far beyond it others are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anomaly.baseline import MOST_EXCESS, Baseline, Parts, by_column
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
    np.testing.assert_array_equal(baseline.usual_excess, [0.5, 0.5, 0.5])
    assert baseline.rest == 0.5


def test_relative_excess_is_1_on_average_on_the_rows_themselves() -> None:
    rng = np.random.default_rng(0)
    terms = ScoreTerms(rng.gamma(0.5, [1.0, 10.0, 0.1], size=(500, 3)), np.zeros(500))
    baseline = Baseline.of("abc", terms, DEFAULT_SCORE)

    found = baseline.relative_excess("abc", terms)

    np.testing.assert_allclose(found.mean(axis=0), 1.0)
    assert found.min() == 0


def test_relative_excess_grows_with_the_error_of_its_column_alone() -> None:
    """Of squared normal errors with a standard deviation of 3 instead of 1, the mean excess is
    known: the integral of max(0, 9 x - 1) over a chi-squared variable x, over that of x - 1."""
    rng = np.random.default_rng(0)
    usual, found = rng.normal(size=(2, 20_000, 2)) ** 2
    found[:, 1] *= 9
    baseline = Baseline.of("ab", ScoreTerms(usual, np.zeros(20_000)), DEFAULT_SCORE)

    mean = baseline.relative_excess("ab", ScoreTerms(found, np.zeros(20_000))).mean(axis=0)

    def expected(factor: float) -> float:
        return float(stats.chi2(1).expect(lambda x: max(0.0, factor * x - 1)))

    assert mean[0] == pytest.approx(1, rel=0.05)
    assert mean[1] == pytest.approx(expected(9) / expected(1), rel=0.05)


def test_one_broken_value_does_not_hide_the_others() -> None:
    terms = ScoreTerms(np.array([[0.0], [2.0]]), np.zeros(2))
    baseline = Baseline.of("a", terms, DEFAULT_SCORE)

    found = baseline.relative_excess("a", ScoreTerms(np.array([[1e300]]), np.zeros(1)))

    assert found == [[MOST_EXCESS]]


def test_where_a_column_has_one_error_only_the_others_say_what_is_much() -> None:
    terms = ScoreTerms(np.array([[5.0, 0.0], [5.0, 8.0]]), np.zeros(2))
    baseline = Baseline.of("ab", terms, DEFAULT_SCORE)

    found = baseline.relative_excess("ab", ScoreTerms(np.array([[9.0, 4.0]]), np.zeros(1)))

    np.testing.assert_array_equal(found, [[2.0, 0.0]])


def test_ranks_are_p_values_of_the_parts() -> None:
    terms = ScoreTerms(np.array([[1.0, 0.0], [1.0, 1.0], [3.0, 0.0]]), np.array([4.0, 6.0, 5.0]))
    baseline = Baseline.of("ab", terms, NegativeELBO())

    ranks = baseline.ranks(ScoreTerms(np.array([[2.0, 0.0], [9.0, 9.0]]), np.array([4.5, 1.0])))

    assert isinstance(ranks, Parts)
    np.testing.assert_array_equal(ranks.reconstruction, [3 / 4, 1 / 4])
    np.testing.assert_array_equal(ranks.kl, [3 / 4, 1.0])


def test_ranks_of_normal_rows_are_uniform() -> None:
    rng = np.random.default_rng(0)

    def some(rows: int) -> ScoreTerms:
        return ScoreTerms(rng.normal(size=(rows, 3)), rng.exponential(size=rows))

    baseline = Baseline.of("abc", some(5_000), NegativeELBO())
    ranks = baseline.ranks(some(2_000))

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

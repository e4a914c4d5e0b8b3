"""Distances of histograms, beside closed forms and scipy on the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anomaly.distances import SMOOTHING, psi, psi_noise, wasserstein

COUNTS = st.lists(st.integers(0, 1000), min_size=4, max_size=4).map(np.array)


def test_psi_of_two_bins_is_its_closed_form() -> None:
    r, w = (30 + SMOOTHING) / 101, (80 + SMOOTHING) / 101
    expected = (w - r) * np.log(w * (1 - r) / (r * (1 - w)))

    assert psi(np.array([30, 70]), np.array([80, 20])) == pytest.approx(expected)


@given(COUNTS, COUNTS)
def test_psi_is_symmetric_finite_and_zero_only_for_equal_shares(
    one: np.ndarray, other: np.ndarray
) -> None:
    assert 0 <= psi(one, other) < np.inf
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, one) == 0


@given(COUNTS, st.integers(2, 1000))
def test_psi_of_equal_shares_is_zero_however_large_the_samples(
    counts: np.ndarray, times: int
) -> None:
    assert psi(counts, times * counts) == pytest.approx(0, abs=1e-12)


def test_psi_is_the_sum_of_both_relative_entropies() -> None:
    one, other = np.array([10, 20, 70]), np.array([40, 40, 20])
    r, w = ((counts + SMOOTHING) / (counts + SMOOTHING).sum() for counts in (one, other))

    assert psi(one, other) == pytest.approx(stats.entropy(r, w) + stats.entropy(w, r))


def test_psi_without_drift_is_about_its_noise() -> None:
    rng = np.random.default_rng(0)
    shares = np.full(10, 0.1)
    found = [psi(rng.multinomial(2000, shares), rng.multinomial(500, shares)) for _ in range(400)]

    assert np.mean(found) == pytest.approx(psi_noise(10, 2000, 500), rel=0.1)


@given(st.integers(0, 2**32 - 1), st.floats(-2, 2), st.floats(0.3, 3))
def test_the_wasserstein_distance_is_that_of_the_rows_within_the_width_of_the_bins(
    seed: int, shift: float, factor: float
) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=300), shift + factor * rng.normal(size=200)
    knots = np.linspace(-15, 15, 61)
    counts = [np.histogram(rows, knots)[0] for rows in (one, other)]

    exact = stats.wasserstein_distance(one, other)

    assert wasserstein(knots, *counts) == pytest.approx(exact, abs=2 * 0.5)


def test_a_histogram_moved_by_one_bin_is_one_width_away() -> None:
    knots = np.array([0.0, 2.0, 4.0, 6.0])

    assert wasserstein(knots, np.array([3, 5, 0]), np.array([0, 3, 5])) == pytest.approx(2.0)


def test_functions_that_cross_within_a_bin_enclose_two_triangles() -> None:
    """Between the knots 1 and 2 the difference goes from 1/4 to -1/4."""
    knots = np.array([0.0, 1.0, 2.0, 3.0])

    found = wasserstein(knots, np.array([2, 0, 2]), np.array([1, 2, 1]))

    assert found == pytest.approx(1 / 8 + 1 / 8 + 1 / 8)

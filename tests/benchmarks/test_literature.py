from __future__ import annotations

import numpy as np
import pytest

from anomaly.arrays import Float64
from benchmarks.literature import mean
from benchmarks.literature_measures import (
    active_units,
    between,
    bits,
    factor_gap,
    relative_distance,
    told_apart,
    used_codes,
)


@pytest.fixture
def factors() -> Float64:
    return np.random.default_rng(0).uniform(-1, 1, (5000, 3))


def test_a_bent_latent_for_each_factor_has_gap_one(factors: Float64) -> None:
    latents = np.column_stack([-(factors[:, 2] ** 3), np.exp(factors[:, 0]), factors[:, 1]])

    # The second largest correlation is one of independent columns, about 1 / sqrt(N).
    assert factor_gap(factors, latents) == pytest.approx(1, abs=0.05)


def test_latents_that_know_nothing_have_gap_zero(factors: Float64) -> None:
    latents = np.random.default_rng(1).standard_normal((5000, 6))

    assert factor_gap(factors, latents) == pytest.approx(0, abs=0.05)


def test_a_factor_that_two_latents_share_counts_nothing(factors: Float64) -> None:
    assert factor_gap(factors, np.hstack([factors, factors])) == pytest.approx(0, abs=1e-12)


def test_factors_that_no_latent_shows_count_nothing(factors: Float64) -> None:
    first_only = np.column_stack([factors[:, 0], np.zeros(5000)])

    assert factor_gap(factors, first_only) == pytest.approx(1 / 3, abs=0.02)


def test_a_latent_is_active_if_its_mean_varies_by_more_than_a_hundredth(factors: Float64) -> None:
    # A uniform on [-1, 1] has variance 1/3.
    assert active_units(factors * np.array([1.0, 0.2, 0.1])) == 2


def test_a_word_of_eight_codes_tells_three_bits() -> None:
    assert bits(codes=8, groups=4) == 12


def test_equal_words_are_one_code() -> None:
    assert used_codes(np.array([[1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0]]), width=2) == 2


def test_distances_are_measured_in_those_of_real_rows() -> None:
    real = np.array([[0.0], [10.0]])

    assert relative_distance(np.array([[3.0], [7.0]]), np.array([[1.0], [9.0]]), real) == 3


def test_a_forest_tells_nothing_of_rows_of_one_population_and_all_of_two() -> None:
    rows = np.random.default_rng(2).standard_normal((600, 3))

    assert told_apart(rows[:300], rows[300:], 0) == pytest.approx(0.5, abs=0.1)
    assert told_apart(rows[:300], rows[300:] + 10, 0) == 1


def test_a_row_lies_between_if_no_centre_is_near() -> None:
    centres = np.array([[0.0, 0.0], [4.0, 0.0]])
    rows = np.array([[0.5, 0.0], [2.0, 0.0], [4.0, 0.9]])

    np.testing.assert_array_equal(between(rows, centres, radius=1), [False, True, False])


def test_numbers_are_averaged_and_names_kept() -> None:
    records = [{"prior": "mixture", "auroc": 0.5}, {"prior": "mixture", "auroc": 1.0}]

    assert mean(records) == {"prior": "mixture", "auroc": 0.75}

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.classical import CLASSICAL, nearest_neighbours, pca_reconstruction
from benchmarks.labelled import correlated


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_row_far_from_all_others_is_the_most_anomalous(name: str) -> None:
    rows = correlated(np.random.default_rng(0), 220, 4)
    train, usual = rows[:200], rows[200:]
    far = np.array([[30.0, -30.0, 30.0, -30.0]])

    scores = CLASSICAL[name](train, 0).score(np.concatenate([usual, far]))

    assert scores.argmax() == len(usual)


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_seed_decides_everything(name: str) -> None:
    rows = correlated(np.random.default_rng(0), 120, 4)

    first, again = (CLASSICAL[name](rows[:100], 5).score(rows[100:]) for _ in range(2))

    assert np.array_equal(first, again)


def test_distances_are_averaged_over_the_nearest_rows() -> None:
    train, new = np.array([[0.0], [1.0], [3.0]]), np.array([[3.5]])

    assert nearest_neighbours(1)(train, 0).score(new) == pytest.approx([0.5])
    assert nearest_neighbours(2)(train, 0).score(new) == pytest.approx([1.5])


def test_pca_sees_only_what_leaves_the_components() -> None:
    along = np.linspace(-1, 1, 21)
    train = np.column_stack([along, along])

    scores = pca_reconstruction(train, 0).score(np.array([[5.0, 5.0], [1.0, -1.0]]))

    assert scores == pytest.approx([0.0, 2.0], abs=1e-12)

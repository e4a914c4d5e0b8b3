from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from anomaly.arrays import Bool
from benchmarks.labelled import adbench, read_adbench, skip_message
from benchmarks.protocol import MOST_ROWS, Split, divided, split, standardised


def labels(normal: int, anomalies: int) -> Bool:
    """In random order."""
    rng = np.random.default_rng(normal)
    return rng.permutation(np.arange(normal + anomalies) < anomalies)


@pytest.mark.parametrize(("normal", "anomalies"), [(10, 3), (11, 3), (9_000, 1_000)])
def test_half_of_the_normal_rows_train_and_everything_else_tests(
    normal: int, anomalies: int
) -> None:
    truth = labels(normal, anomalies)

    train, test = divided(truth, seed=0)

    assert len(train) == normal // 2
    assert not truth[train].any()
    assert sorted([*train, *test]) == list(range(normal + anomalies))


@pytest.mark.parametrize(("normal", "anomalies"), [(10_000, 1), (20_000, 5_000), (95_126, 30)])
def test_a_large_table_is_reduced_with_its_share_of_anomalies_kept(
    normal: int, anomalies: int
) -> None:
    truth = labels(normal, anomalies)

    train, test = divided(truth, seed=0)

    used = truth[np.concatenate([train, test])]
    assert len(used) == MOST_ROWS
    assert abs(used.sum() - MOST_ROWS * truth.mean()) <= 0.5
    assert len(train) == (~used).sum() // 2
    assert len({*train, *test}) == MOST_ROWS


def test_the_split_is_a_function_of_labels_and_seed_alone() -> None:
    truth = labels(500, 50)
    rng = np.random.default_rng(0)

    first, again, other = (divided(truth, seed) for seed in (1, 1, 2))
    train, _ = divided(truth, 1)
    values = rng.random((550, 2))

    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert set(first[0]) != set(other[0])
    assert np.array_equal(split(values, truth, 1).train, values[train])


def test_seeds_give_every_normal_row_an_even_chance_to_train() -> None:
    truth = labels(40, 4)

    trained = np.bincount(
        np.concatenate([divided(truth, seed)[0] for seed in range(400)]), minlength=44
    )

    # 400 draws of probability 1/2: five standard deviations are 50.
    assert np.all(np.abs(trained[~truth] - 200) < 50)
    assert not trained[truth].any()


def test_rows_keep_their_truth_and_become_float64() -> None:
    truth = labels(60, 6)
    values = np.column_stack([truth, np.arange(66)]).astype(np.uint8)

    found = split(values, truth, seed=0)

    assert found.test.dtype == np.float64
    assert np.array_equal(found.test[:, 0] == 1, found.is_anomalous)
    assert found.is_anomalous.sum() == 6


def test_standardising_uses_training_statistics_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    raw = Split(rng.normal(5, 3, (50, 4)), rng.normal(9, 1, (20, 4)), np.arange(20) >= 15)

    found = standardised(raw)

    scaler = StandardScaler().fit(raw.train)
    np.testing.assert_allclose(found.train, scaler.transform(raw.train), atol=1e-12)
    np.testing.assert_allclose(found.test, scaler.transform(raw.test), atol=1e-12)


def test_a_constant_column_is_only_centred() -> None:
    # The standard deviation of a hundred times 0.1 is not 0 but a rounding error.
    raw = Split(np.full((100, 1), 0.1), np.array([[0.1], [1.1]]), np.array([False, True]))

    np.testing.assert_allclose(standardised(raw).test, [[0], [1]], atol=1e-12)


def test_a_saved_split_is_the_same(tmp_path: Path) -> None:
    truth = labels(30, 3)
    made = split(np.random.default_rng(0).random((33, 2)), truth, seed=0)

    made.save(tmp_path / "split.npz")
    found = Split.load(tmp_path / "split.npz")

    assert np.array_equal(found.train, made.train)
    assert np.array_equal(found.test, made.test)
    assert np.array_equal(found.is_anomalous, made.is_anomalous)


@pytest.mark.skipif("34_smtp" not in adbench(), reason=skip_message())
def test_three_of_the_thirty_anomalies_of_smtp_remain() -> None:
    table = read_adbench(adbench()["34_smtp"])

    found = split(table.values, table.is_anomalous, seed=0)

    assert found.is_anomalous.sum() == 3
    assert (len(found.train), len(found.test)) == (4_998, 5_002)

"""What the fit rows looked like, and how other rows differ from them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anomaly.arrays import Float64
from anomaly.reference import MOST_LEVELS, Drift, Reference, Watched, number_edges

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def reference(values: Float64) -> Reference:
    return Reference.of(["x"], [], Watched(values[:, None]), np.arange(100.0))


def drift(before: Float64, after: Float64) -> Drift:
    of = reference(before)
    return of.drifts(of.tally(Watched(after[:, None])))[0]


def test_bins_hold_about_equally_many_rows() -> None:
    values = np.random.default_rng(0).lognormal(size=1_000)

    counts = np.histogram(values, [-np.inf, *number_edges(values), np.inf])[0]

    assert len(counts) == 10
    assert counts.min() >= 99


def test_values_below_one_that_most_rows_have_are_told_from_it() -> None:
    """The quantiles of these rows are all 60."""
    edges = number_edges(np.concatenate([np.arange(50.0), np.full(950, 60.0)]))

    assert ((edges >= 49) & (edges < 60)).any()


@pytest.mark.parametrize(
    ("values", "bins"),
    [
        ([5.0] * 60, 3),
        ([0.0] * 90 + [1.0] * 10, 4),
        ([1.0, 2.0, 3.0] * 100, 5),
        ([*range(700), *[1_000] * 300], 9),
        ([], 2),
    ],
    ids=["constant", "boolean", "three values", "saturated", "always missing"],
)
def test_a_value_that_is_alone_in_its_bin_has_edges_on_both_sides(
    values: list[float], bins: int
) -> None:
    assert len(number_edges(np.array(values))) + 1 == bins


def test_a_small_table_has_fewer_bins() -> None:
    assert len(number_edges(np.random.default_rng(0).normal(size=150))) + 1 == 3


@given(st.lists(FINITE, min_size=1, max_size=60))
def test_edges_ascend_and_part_no_two_rows_of_one_value(values: list[float]) -> None:
    edges = number_edges(np.array(values))

    assert (np.diff(edges) > 0).all()
    assert np.isfinite(edges).all()


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_rounding_is_no_drift(digits: int) -> None:
    """A value that many rows have lies on an edge; computed elsewhere it may differ a little."""
    values = np.round(np.random.default_rng(0).normal(3, 2, 2_000), digits)

    for by in (1 - 1e-12, 1 + 1e-12):
        assert drift(values, values * by).psi == 0


@given(st.lists(FINITE | st.just(float("nan")), min_size=1, max_size=30), st.lists(FINITE))
def test_every_finite_number_can_be_compared(before: list[float], after: list[float]) -> None:
    of = reference(np.array(before))
    tally = of.tally(Watched(np.array([*after, 0.0])[:, None]))

    (found,) = of.drifts(tally)

    assert 0 <= found.psi < np.inf
    assert found.wasserstein is None or 0 <= found.wasserstein < np.inf
    assert tally.counts.sum() == len(after) + 1


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0, 50.0])
def test_the_distance_is_scipys_in_standard_deviations(shift: float) -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(3, 2, 5_000), rng.normal(3 + 2 * shift, 2, 5_000)

    exact = stats.wasserstein_distance(before, after) / before.std()

    assert drift(before, after).wasserstein == pytest.approx(exact, abs=0.1)


def test_a_changed_constant_is_drift_in_either_direction() -> None:
    before = np.full(500, 7.0)

    assert drift(before, before).psi == 0
    assert drift(before, before).wasserstein == pytest.approx(0, abs=1e-6)
    assert drift(before, before + 1e-12).psi == 0
    for other in (6.0, 8.0):
        assert drift(before, np.full(500, other)).psi > 1
        assert drift(before, np.full(500, other)).wasserstein == pytest.approx(1.0)


def test_missing_values_are_drift_of_their_own() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=1_000), rng.normal(size=1_000)
    before[:100], after[:500] = np.nan, np.nan

    found = drift(before, after)

    assert found.psi > 0.25
    assert (found.missing, found.usually_missing) == (0.5, 0.1)
    assert found.wasserstein == pytest.approx(0, abs=0.2)


def test_categories_are_counted_by_name_and_the_unseen_together() -> None:
    before = np.array(["a"] * 300 + ["b"] * 100 + [None] * 100, object)
    of = Reference.of([], ["c"], Watched(np.zeros((500, 0)), (before,)), np.arange(100.0))
    after = np.array(["b", "b", "new", "newer", None], object)

    tally = of.tally(Watched(np.zeros((5, 0)), (after,)))

    assert tally.counts.tolist() == [0, 2, 2, 1]
    assert of.drifts(tally)[0].wasserstein is None


def test_rare_categories_share_a_bin() -> None:
    names = np.array([f"level {i}" for i in range(200)], object)

    of = Reference.of([], ["c"], Watched(np.zeros((200, 0)), (names,)), np.arange(100.0))

    assert len(of.categories[0].levels) == MOST_LEVELS
    assert of.categories[0].counts[-1] == 200 - MOST_LEVELS


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_tallies_of_parts_add_up_to_that_of_the_whole(sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    of, rows = reference(rng.normal(size=500)), rng.normal(size=(sum(sizes), 1))

    parts = [of.tally(Watched(part)) for part in np.split(rows, np.cumsum(sizes)[:-1])]
    together, whole = sum(parts, of.nothing), of.tally(Watched(rows))

    assert together.rows == whole.rows
    np.testing.assert_array_equal(together.counts, whole.counts)
    np.testing.assert_allclose(together.sums, whole.sums)


def test_a_reference_is_the_same_after_json() -> None:
    found = reference(np.random.default_rng(0).normal(size=500))

    assert Reference.from_json(json.dumps(found.to_plain()).encode()) == found

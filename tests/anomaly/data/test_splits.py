"""Parts are disjoint, cover everything, follow the seed, and have the sizes of one rule."""

from __future__ import annotations

import math
from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from anomaly.data.records import Records
from anomaly.data.splits import (
    SplitConfig,
    Splits,
    duplicate_share,
    split_groups,
    split_rows,
    split_sizes,
    split_times,
)
from anomaly.errors import BadData, NotEnoughRows

TEST_SHARE = st.sampled_from([0.0, 0.2, 0.5])


def assert_partition(splits: Splits, n: int) -> None:
    parts = astuple(splits)
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))


@given(n=st.integers(10, 200_000))
def test_the_sizes_are_those_of_the_stated_rule(n: int) -> None:
    sizes = split_sizes(n)

    if n < 283:
        assert sizes.calibration == math.ceil(n / 4)
    else:
        of_many = max(99, min(500, math.ceil(n / 5)), math.ceil(n / 10))
        assert sizes.calibration == min(10_000, of_many)
    assert sizes.early_stop == 0
    assert sum(astuple(sizes)) == n
    assert sizes.fit >= n / 2


@pytest.mark.parametrize(
    ("n", "calibration"),
    [
        *[(10, 3), (100, 25), (282, 71), (283, 99), (495, 99), (1_000, 200), (2_500, 500)],
        *[(5_000, 500), (20_000, 2_000), (600_000, 10_000)],
    ],
)
def test_the_share_that_calibrates_falls_as_tables_grow(n: int, calibration: int) -> None:
    assert split_sizes(n).calibration == calibration


def test_ninety_nine_rows_calibrate_as_soon_as_that_leaves_most_to_the_fit() -> None:
    supported = [n for n in range(10, 1000) if split_sizes(n).calibration >= 99]

    assert supported == list(range(283, 1000))


@pytest.mark.parametrize(("n", "test_share"), [(0, 0.0), (9, 0.0), (9, 0.5)])
def test_fewer_than_ten_rows_are_refused(n: int, test_share: float) -> None:
    with pytest.raises(NotEnoughRows, match="10 are needed"):
        split_sizes(n, test_share)


@pytest.mark.parametrize(("n", "test"), [(10, 0), (11, 1), (12, 2), (13, 3), (50, 10)])
def test_the_test_takes_no_row_that_the_fit_needs(n: int, test: int) -> None:
    assert split_sizes(n, 0.2).test == min(test, round(0.2 * n))


@pytest.mark.parametrize(
    ("n", "needed", "calibration"),
    [
        *[(10_000, 999, 1_000), (5_000, 999, 999), (2_855, 999, 999), (2_854, 999, 500)],
        *[(300_000, 99_999, 99_999), (1_000, 19, 200), (283, 19, 99), (200, 19, 50)],
    ],
)
def test_a_small_rate_gets_the_rows_that_it_needs_up_to_a_third(
    n: int, needed: int, calibration: int
) -> None:
    assert split_sizes(n, needed=needed).calibration == calibration


def test_shares_that_are_given_replace_the_rule() -> None:
    sizes = split_sizes(1000, 0.2, calibration_share=0.5, early_stop_share=0.25)

    assert astuple(sizes) == (200, 200, 400, 200)
    with pytest.raises(NotEnoughRows, match="none to fit"):
        split_sizes(1000, calibration_share=0.8, early_stop_share=0.2)


@given(n=st.integers(20, 300), seed=st.integers(0, 5), test_share=TEST_SHARE)
def test_rows_are_divided_by_seed(n: int, seed: int, test_share: float) -> None:
    splits = split_rows(n, seed=seed, test_share=test_share)

    assert_partition(splits, n)
    assert tuple(map(len, astuple(splits))) == astuple(split_sizes(n, test_share))
    again = split_rows(n, seed=seed, test_share=test_share)
    other = split_rows(n, seed=seed + 1, test_share=test_share)
    np.testing.assert_array_equal(splits.fit, again.fit)
    assert splits.fit.tolist() != other.fit.tolist()


def test_every_row_calibrates_as_often_as_any_other() -> None:
    counts = np.zeros(50)
    for seed in range(2000):
        counts[split_rows(50, seed=seed).calibration] += 1

    expected = 2000 * split_sizes(50).calibration / 50
    # 5 standard deviations of a binomial count
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected * (1 - expected / 2000))


@given(times=st.lists(st.integers(0, 30), min_size=20, max_size=60), test_share=TEST_SHARE)
def test_by_time_no_part_begins_before_the_one_before_has_ended(
    times: list[int], test_share: float
) -> None:
    dates = np.datetime64("2024-01-01", "us") + np.array(times).astype("timedelta64[h]")

    splits = split_times(dates, test_share=test_share)

    assert_partition(splits, len(times))
    assert tuple(map(len, astuple(splits))) == astuple(split_sizes(len(times), test_share))
    parts = [dates[part] for part in astuple(splits) if len(part)]
    for earlier, later in pairwise(parts):
        assert earlier.max() <= later.min()
    numbers = split_times(np.array(times, dtype=np.float64), test_share=test_share)
    np.testing.assert_array_equal(numbers.calibration, splits.calibration)


def test_rows_of_the_same_time_stay_in_the_order_of_the_file() -> None:
    splits = split_times(np.zeros(100), test_share=0.2)

    np.testing.assert_array_equal(np.concatenate(astuple(splits)), np.arange(100))


@given(
    groups=st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), max_size=100),
    seed=st.integers(0, 3),
    test_share=st.sampled_from([0.0, 0.2]),
)
def test_groups_stay_whole(groups: list[str], seed: int, test_share: float) -> None:
    names = np.array([*groups, *"abcdefghijklmnop"], dtype=object)

    splits = split_groups(names, seed=seed, test_share=test_share)

    assert_partition(splits, len(names))
    members = [set(names[part]) for part in astuple(splits)]
    assert sum(map(len, members)) == len(set(names))
    assert tuple(map(len, members)) == astuple(split_sizes(len(set(names)), test_share))


def test_fewer_than_ten_groups_are_refused_however_many_rows() -> None:
    with pytest.raises(NotEnoughRows):
        split_groups(np.array(list("abcdefghi") * 100, dtype=object), seed=0)


def test_a_row_without_time_or_group_is_refused_by_its_number() -> None:
    times = np.zeros(20)
    times[7] = np.nan
    groups = np.array([*"abcdefghijkl", None], dtype=object)

    with pytest.raises(BadData, match="time") as of_time:
        split_times(times)
    with pytest.raises(BadData, match="group") as of_group:
        split_groups(groups, seed=0)
    assert (of_time.value.row, of_group.value.row) == (7, 12)


def test_the_config_refuses_unknown_keys_and_half_a_group() -> None:
    read = TypeAdapter(SplitConfig).validate_python

    assert read({"by": "group", "group_column": "unit", "test_share": 0.2}).test_share == 0.2
    for wrong in (
        {"by": "group"},
        {"group_column": "unit"},
        {"by": "magic"},
        {"seed": 1},
        {"test_share": 1.0},
        {"calibration_share": 0.0},
    ):
        with pytest.raises(ValidationError):
            read(wrong)


@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0.0, -0.0, 1.0, np.nan]), st.sampled_from(["a", "b", None])),
        min_size=2,
        max_size=30,
    ),
    border=st.integers(1, 29),
)
def test_the_share_of_duplicates_is_that_of_a_comparison_of_all_pairs(
    rows: list[tuple[float, str | None]], border: int
) -> None:
    x, kind = (list(column) for column in zip(*rows, strict=True))
    records = Records(
        {"x": np.array(x), "kind": np.array(kind, dtype=object), "id": np.arange(len(rows))},
        len(rows),
    )
    one, other = np.split(np.arange(len(rows)), [min(border, len(rows) - 1)])

    share = duplicate_share(records, ["x", "kind"], one, other)

    def equal(i: int, j: int) -> bool:
        return kind[i] == kind[j] and bool(x[i] == x[j] or np.isnan([x[i], x[j]]).all())

    assert share == np.mean([any(equal(i, j) for j in other) for i in one])


def test_no_rows_have_no_duplicates() -> None:
    none = np.array([], dtype=np.int64)

    assert duplicate_share(Records({"x": np.zeros(2)}, 2), ["x"], none, np.arange(2)) == 0

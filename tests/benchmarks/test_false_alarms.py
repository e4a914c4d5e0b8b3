from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.false_alarms import (
    halves,
    keep,
    quietly_fitted,
    report,
    tied_share,
    verdict,
    with_few_joined,
    worst_of_presets,
)
from benchmarks.labelled import correlated
from benchmarks.record import Results
from benchmarks.resplits import Rate, Resplits, rate_of


def test_a_fitted_detector_holds_the_rate_on_rows_it_has_not_seen() -> None:
    fit_rows, held_out = halves(correlated(np.random.default_rng(0), 600, 4))

    scores = quietly_fitted(fit_rows, "fast").anomaly_score(held_out)

    for alpha in (0.05, 0.01):
        assert rate_of(Resplits(scores, 99, 400, seed=0), alpha).holds


def results(path: Path) -> Results:
    return Results(path / "results.jsonl", "abc", [])


@pytest.mark.parametrize(("preset", "code"), [("default", 1), ("off_by_one", 0)])
def test_only_the_negative_control_may_exceed(preset: str, code: int, tmp_path: Path) -> None:
    kept = results(tmp_path)
    exceeded = verdict(Rate(0.05, 0.2, 0.001))

    keep(kept, "control", "made", preset, lambda: [exceeded])

    assert report(kept) == code


def test_a_negative_control_that_holds_is_a_fault(tmp_path: Path) -> None:
    kept = results(tmp_path)

    keep(kept, "control", "made", "off_by_one", lambda: [verdict(Rate(0.05, 0.05, 0.001))])

    assert report(kept) == 1


def test_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    kept = results(tmp_path)
    for _ in range(2):
        keep(kept, "resplits", "t", "default", lambda: [verdict(Rate(0.05, 0.05, 0.001))])

    assert len(kept.records) == 1


def test_ties_are_the_rows_that_have_an_equal() -> None:
    assert tied_share(np.array([1.0, 1.0, 2.0, 3.0])) == 0.5


def test_rare_counts_are_joined_with_the_largest_that_is_not_rare() -> None:
    entries = np.repeat([0, 1, 2, 3], [500, 300, 90, 20])

    assert np.unique(with_few_joined(entries), return_counts=True)[1].tolist() == [500, 300, 110]


def test_the_summary_shows_the_preset_nearest_to_its_bound() -> None:
    shared = {"table": "t", "calibration_rows": 99, "alpha": 0.05, "bound": 0.054}
    records = [{**shared, "preset": p, "mean": m} for p, m in (("a", 0.049), ("b", 0.053))]

    assert worst_of_presets(records) == [{**records[1], "presets": 2}]

"""The promise itself: a normal row, or a normal group, is flagged with probability <= alpha.

Given the fit, calibration and new rows are exchangeable, so scores are computed once and divided
anew many times: the mean rate over re-splits must not exceed alpha (Vovk et al. 2005).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine

from anomaly import VAEDetector
from anomaly.arrays import Bool, Float64, Objects
from anomaly.assembly import DetectorConfig, assemble, highest_of_each
from anomaly.backends.backend import Device
from anomaly.calibration import calibrate
from anomaly.data.frames import records_from_array, schema_of_array
from anomaly.data.records import Records
from anomaly.data.splits import Splits, split_groups, split_rows
from anomaly.detector import Detector
from anomaly.fitting import FitConfig
from anomaly.scores import ExemplarKL, MaskedReconstruction, NearestRow

RESPLITS = 400


QUICK = DetectorConfig(fit=FitConfig(steps=200))
WAYS = {
    "default": QUICK,
    "nearest row": replace(QUICK, score=NearestRow()),
    "exemplars": replace(QUICK, score=ExemplarKL()),
    "masks": replace(QUICK, score=MaskedReconstruction()),
    "ensemble": replace(QUICK, members=2),
}


def fitted_on(
    rows: Float64, splits: Splits, groups: Objects | None = None, config: DetectorConfig = QUICK
) -> tuple[Detector, Records]:
    schema = schema_of_array(rows.shape[1])
    records = records_from_array(rows, schema)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = assemble(schema, records, splits, config, seed=0, device=Device.CPU, groups=groups)
    return made.detector, records


def held_out_scores(table: str, config: DetectorConfig = QUICK) -> Float64:
    """Scores of rows of a real table that took no part in the fit."""
    rows = {"wine": load_wine, "digits": load_digits}[table](return_X_y=True)[0]
    splits = split_rows(len(rows), seed=0, test_share=0.5)
    detector, records = fitted_on(np.asarray(rows, float), splits, config=config)
    unseen = np.concatenate([splits.calibration, splits.test])
    return detector.anomaly_score(records.take(unseen))


def assert_at_most(rates: Float64, alpha: float) -> None:
    """One-sided, at 3.29 standard errors: a false alarm of the test itself in 2,000."""
    assert rates.mean() <= alpha + 3.29 * rates.std(ddof=1) / math.sqrt(len(rates))


def rates_over_resplits(scores: Float64, alpha: float, n_calibration: int) -> Float64:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(RESPLITS):
        order = rng.permutation(len(scores))
        calibration = calibrate(scores[order[:n_calibration]], alpha)
        flags: Bool = calibration.is_anomaly(calibration.p_values(scores[order[n_calibration:]]))
        rates.append(flags.mean())
    return np.array(rates)


@pytest.fixture(scope="module")
def real_scores(estimator: VAEDetector, benign: Float64) -> dict[str, Float64]:
    detector = estimator.detector_
    tumours = [detector.calibration.scores, detector.anomaly_score(benign[300:])]
    return {
        "breast cancer": np.concatenate(tumours),
        "digits": held_out_scores("digits"),
        **{f"wine, {way}": held_out_scores("wine", config) for way, config in WAYS.items()},
    }


TABLES = ("breast cancer", "digits", *(f"wine, {way}" for way in WAYS))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("table", TABLES)
def test_on_real_tables(real_scores: dict[str, Float64], table: str, alpha: float) -> None:
    scores = real_scores[table]

    rates = rates_over_resplits(scores, alpha, len(scores) // 2)

    assert_at_most(rates, alpha)
    # And it is not kept by flagging nothing: at most 1 / (n + 1) is given away to rounding.
    assert rates.mean() > alpha - 1 / (len(scores) // 2 + 1) - 0.02


@pytest.mark.parametrize("n_calibration", [1, 5, 19, 40])
@pytest.mark.parametrize("way", WAYS)
def test_with_few_calibration_rows(
    real_scores: dict[str, Float64], way: str, n_calibration: int
) -> None:
    alpha = max(0.05, 1 / (n_calibration + 1))

    rates = rates_over_resplits(real_scores[f"wine, {way}"], alpha, n_calibration)

    assert_at_most(rates, alpha)


def test_with_heavy_ties(real_scores: dict[str, Float64]) -> None:
    """Scores rounded until most of them are equal, as on a table with common rows."""
    scores = np.round(real_scores["digits"] / 30)
    assert len(np.unique(scores)) < len(scores) / 10

    assert_at_most(rates_over_resplits(scores, 0.05, 100), 0.05)


def test_a_threshold_from_rows_that_were_fitted_breaks_it() -> None:
    """The negative control: this test would see a detector that calibrates on its fit rows."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((120, 60))
    splits = split_rows(120, seed=0, test_share=0.5)
    schema = schema_of_array(60)
    records = records_from_array(rows, schema)
    config = DetectorConfig(fit=FitConfig(steps=600, mask_rate=0.0, noise=0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = assemble(schema, records, splits, config, seed=0, device=Device.CPU).detector
    seen = detector.anomaly_score(records.take(splits.fit))
    unseen = detector.anomaly_score(records_from_array(rng.standard_normal((500, 60)), schema))

    calibration = calibrate(seen, 0.1)

    assert calibration.is_anomaly(calibration.p_values(unseen)).mean() > 0.3


# Groups


def measurements(n_groups: int, seed: int) -> tuple[Float64, Objects]:
    """1 to 8 measurements of each object; objects differ more than their measurements."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, n_groups)
    member = np.repeat(np.arange(n_groups), sizes)
    rows = rng.standard_normal((n_groups, 4))[member] + 0.5 * rng.standard_normal((len(member), 4))
    return rows, np.array([f"g{group}" for group in member], object)


@pytest.fixture(scope="module")
def of_groups() -> Detector:
    rows, groups = measurements(200, seed=0)
    return fitted_on(rows, split_groups(groups, seed=0), groups)[0]


def test_a_group_has_one_score(of_groups: Detector) -> None:
    # A quarter of 200 groups; see `split_sizes`.
    assert of_groups.calibration.n == 50
    assert of_groups.card.rows["calibration"] > 50


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_a_normal_group_is_flagged_at_all_with_probability_at_most_alpha(
    of_groups: Detector, alpha: float
) -> None:
    rows, groups = measurements(1500, seed=1)
    highest = highest_of_each(of_groups.anomaly_score(rows), groups)

    rates = rates_over_resplits(highest, alpha, 70)

    assert_at_most(rates, alpha)
    assert rates.mean() > alpha - 0.02


def test_calibrating_rows_as_if_they_were_groups_breaks_it(of_groups: Detector) -> None:
    """The negative control."""
    rows, groups = measurements(1500, seed=1)
    scores = of_groups.anomaly_score(rows)
    calibration = calibrate(scores[:1000], 0.05)

    flagged = calibration.is_anomaly(calibration.p_values(scores[1000:]))

    assert len(set(groups[1000:][flagged])) / len(set(groups[1000:])) > 0.08

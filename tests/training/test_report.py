"""Pictures of a run, for every run there can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomaly import VAEDetector
from anomaly.arrays import Float64
from anomaly.assembly import Assembled, DetectorConfig, assemble
from anomaly.backends.backend import Device
from anomaly.data.frames import records_from_array, schema_of_array
from anomaly.data.records import Records
from anomaly.data.splits import split_rows
from anomaly.fitting import FitConfig
from anomaly.models.vae import VAEConfig
from tests import machines
from training.evaluate import evaluate
from training.report import MOST_BARS, figures

ALWAYS = {"loss.png", "scores.png", "features.png"}
OF_LATENTS = {
    "latent_units.png",
    "latent_reconstructions.png",
    "latent_responses.png",
    "latent_samples.png",
}


def pictures(
    assembled: Assembled, normal: Records, odd: Records | None, folder: Path
) -> dict[str, int]:
    """Every picture as PNG; the size of each in bytes."""
    test = normal if odd is None else Records.concatenate([normal, odd])
    truth = np.arange(len(test)) >= len(normal)
    evaluation = evaluate(assembled.detector, test, truth)
    found = figures(assembled.detector, assembled.fitted.history, evaluation, test)
    for name, figure in found.items():
        figure.savefig(folder / name)
    return {name: (folder / name).stat().st_size for name in found}


def array_assembled(rows: Float64, config: DetectorConfig) -> Assembled:
    schema = schema_of_array(rows.shape[1])
    records = records_from_array(rows, schema)
    return assemble(
        schema, records, split_rows(len(rows), seed=0), config, seed=0, device=Device.CPU
    )


def test_with_anomalies_there_are_curves_of_what_is_found(
    assembled: Assembled, tmp_path: Path
) -> None:
    made = pictures(assembled, machines.records(100, 4), machines.anomalies(20), tmp_path)

    assert set(made) == {*ALWAYS, *OF_LATENTS, "latent.png", "roc_pr.png"}
    assert min(made.values()) > 5_000


def test_without_anomalies_there_is_no_roc(assembled: Assembled, tmp_path: Path) -> None:
    made = pictures(assembled, machines.records(100, 4), None, tmp_path)

    assert set(made) == {*ALWAYS, *OF_LATENTS, "latent.png"}


def test_of_anomalies_alone_there_is_no_roc_either(assembled: Assembled, tmp_path: Path) -> None:
    nothing = machines.records(1).take(slice(0))

    made = pictures(assembled, nothing, machines.anomalies(5), tmp_path)

    assert "roc_pr.png" not in made


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_test_rows_are_drawn_if_they_have_directions(
    assembled: Assembled, tmp_path: Path, n: int
) -> None:
    made = pictures(assembled, machines.records(n, 4), None, tmp_path)

    assert ("latent.png" in made) == (n > 2)
    assert set(made) >= ALWAYS


def test_one_latent_and_one_look_are_drawn(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((100, 2))
    config = DetectorConfig(
        model=VAEConfig(latent=1), fit=FitConfig(steps=5, check_every=5), alpha=0.1
    )
    made = array_assembled(rows, config)
    test = records_from_array(rows[:30], made.detector.schema)

    assert set(pictures(made, test, None, tmp_path)) >= {*ALWAYS, "latent.png"}


def test_of_many_columns_the_largest_are_drawn(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((200, 300))
    made = array_assembled(rows, DetectorConfig(fit=FitConfig(steps=5), alpha=0.1))
    test = records_from_array(rows[:30], made.detector.schema)
    evaluation = evaluate(made.detector, test, np.zeros(30, bool))

    found = figures(made.detector, made.fitted.history, evaluation, test)

    assert len(found["features.png"].axes[0].get_yticks()) == MOST_BARS
    assert set(pictures(made, test, None, tmp_path)) >= {*ALWAYS, "latent.png"}


def test_scores_a_million_thresholds_out_are_drawn(assembled: Assembled, tmp_path: Path) -> None:
    odd = machines.anomalies(5)
    far = Records({**odd.columns, "load": odd.columns["load"] * 1e9}, 5)

    made = pictures(assembled, machines.records(50, 4), far, tmp_path)

    assert set(made) == {*ALWAYS, *OF_LATENTS, "latent.png", "roc_pr.png"}


def test_a_threshold_at_the_median_is_drawn(assembled: Assembled, tmp_path: Path) -> None:
    """As on a table where half of the rows are the same."""
    calibration = assembled.detector.calibration
    flat = replace(calibration, scores=np.full(calibration.n, calibration.median))
    same = replace(assembled, detector=replace(assembled.detector, calibration=flat))

    made = pictures(same, machines.records(50, 4), None, tmp_path)

    assert set(made) == {*ALWAYS, *OF_LATENTS, "latent.png"}


def test_every_axis_is_named(assembled: Assembled) -> None:
    test = machines.both(100, 20, seed=4)
    evaluation = evaluate(assembled.detector, test, np.arange(120) >= 100)

    for name, figure in figures(
        assembled.detector, assembled.fitted.history, evaluation, test
    ).items():
        if name in OF_LATENTS:
            assert figure.get_suptitle(), name
            continue
        for axis in figure.axes:
            assert axis.get_title(), name
            assert axis.get_xlabel(), name


@pytest.fixture(scope="module")
def tumours(estimator: VAEDetector, benign: Float64, malignant: Float64) -> Records:
    schema = estimator.detector_.schema
    return records_from_array(np.concatenate([benign[300:], malignant]), schema)


def test_the_threshold_is_where_the_picture_says(
    assembled: Assembled, estimator: VAEDetector, tumours: Records
) -> None:
    """On the margin's scale the threshold is 1, whatever the score."""
    truth = np.arange(len(tumours)) >= 57
    detector = estimator.detector_
    evaluation = evaluate(detector, tumours, truth)

    axis = figures(detector, estimator.history_, evaluation, tumours)["scores.png"].axes[0]

    (threshold,) = (line for line in axis.get_lines() if line.get_label() == "threshold")
    np.testing.assert_array_equal(threshold.get_xdata(), 1.0)

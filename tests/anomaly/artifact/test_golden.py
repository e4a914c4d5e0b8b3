"""Golden rows: made from quantiles, never copied, and scored again at every load."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anomaly import VAEDetector
from anomaly.arrays import Float64
from anomaly.artifact.golden import N_ROWS, check_golden_rows, golden_records, golden_rows
from anomaly.backends.backend import open_backend
from anomaly.detector import Detector
from anomaly.errors import ArtifactRejected
from tests import machines


def test_no_row_of_the_training_data_is_among_them(estimator: VAEDetector, benign: Float64) -> None:
    detector = estimator.detector_
    golden = golden_records(detector.schema, golden_rows(detector).columns)
    rows = np.column_stack([golden.columns[name] for name in detector.schema.names])

    assert rows.shape == (N_ROWS, 30)
    for row in rows:
        # Not even in half of the columns: each takes its quantiles in an order of its own.
        assert (np.isclose(benign, row, rtol=1e-9, atol=0).mean(axis=1) < 0.5).all()


def test_every_column_takes_its_usual_values(detector: Detector) -> None:
    columns = golden_rows(detector).columns
    normal = machines.records(600)

    assert set(columns) == {c.name for c in detector.schema.required}
    assert set(columns["mode"]) == set(machines.MODES)
    assert set(columns["idle"]) == {0.0, 1.0}
    assert set(columns["voltage"]) == {230.0}
    load = np.array(columns["load"], float)
    assert abs(np.median(load) - np.median(normal.columns["load"])) < 1


def test_the_same_detector_passes_and_a_score_off_by_more_than_allowed_fails(
    detector: Detector,
) -> None:
    golden = golden_rows(detector)
    check_golden_rows(detector, golden)

    off = [*golden.scores]
    allowed = max(detector.calibration.tolerance, 1e-5 * abs(off[7]))
    off[7] += 0.9 * allowed
    check_golden_rows(detector, replace(golden, scores=off))
    off[7] += 0.2 * allowed
    with pytest.raises(ArtifactRejected, match="golden row 7"):
        check_golden_rows(detector, replace(golden, scores=off))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_model_that_gives_no_number_fails(detector: Detector) -> None:
    model = detector.model
    nothing = {name: np.full_like(array, np.nan) for name, array in model.first.items()}
    broken = replace(detector, backend=open_backend(replace(model, members=(nothing,))))

    with pytest.raises(ArtifactRejected, match="scores nan here"):
        check_golden_rows(broken, golden_rows(detector))

"""The side of `benchmarks.accuracy` that runs in our own environment.

    python -m benchmarks.accuracy_ours WORK.json

Our presets get the rows as they are, because their preprocessing standardises; scikit-learn's
detectors get them standardised by the training rows.
"""

from __future__ import annotations

import numpy as np

from anomaly.arrays import Float64
from benchmarks.classical import CLASSICAL
from benchmarks.contest import Fit, Fitted, answer, measured
from benchmarks.protocol import Split, standardised
from benchmarks.record import Record


def as_shipped(preset: str) -> Fit:
    """`VAEDetector` on all training rows: it holds its own calibration rows out."""
    # Here, so that scikit-learn's detectors need not wait for torch.
    from anomaly import VAEDetector

    def fit(train: Float64, seed: int) -> Fitted:
        detector = VAEDetector(preset=preset, random_state=seed, device="cpu").fit(train)
        calibration = detector.detector_.calibration
        return Fitted(
            detector.anomaly_score,
            lambda scores: calibration.is_anomaly(calibration.p_values(scores)),
            calibration.alpha,
        )

    return fit


def on_all_rows(preset: str) -> Fit:
    """The same without calibration rows: what holding them out costs. It states no rate."""
    from anomaly.assembly import assemble
    from anomaly.backends.backend import Device
    from anomaly.data.frames import records_from_array, schema_of_array
    from anomaly.data.splits import Splits, split_rows
    from anomaly.presets import preset_config

    def fit(train: Float64, seed: int) -> Fitted:
        schema = schema_of_array(train.shape[1])
        shipped = split_rows(len(train), seed=seed)
        # Calibrated on rows that it was fitted on, so that its verdicts mean nothing.
        splits = Splits(
            np.sort(np.concatenate([shipped.fit, shipped.calibration])),
            shipped.early_stop,
            shipped.calibration,
            shipped.test,
        )
        records = records_from_array(train, schema)
        config = preset_config(preset)
        made = assemble(schema, records, splits, config, seed=seed, device=Device.CPU)
        return Fitted(made.detector.anomaly_score)

    return fit


def measure(method: str, raw: Split, seed: int) -> Record:
    """One of scikit-learn's detectors, or a preset, as `ours/NAME` or `ours-all-rows/NAME`."""
    if method in CLASSICAL:
        return measured(CLASSICAL[method], standardised(raw), seed)
    way, preset = method.split("/")
    return measured((as_shipped if way == "ours" else on_all_rows)(preset), raw, seed)


if __name__ == "__main__":
    answer(measure)

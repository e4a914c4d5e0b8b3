"""The side of `benchmarks.accuracy` that runs in our own environment.

    python -m benchmarks.accuracy_ours WORK.json

Our presets get the rows as they are, because their preprocessing standardises; scikit-learn's
detectors get them standardised by the training rows.
"""

from __future__ import annotations

from anomaly.arrays import Float64
from benchmarks.classical import CLASSICAL
from benchmarks.contest import Fit, Fitted, answer, measured
from benchmarks.protocol import Split, standardised
from benchmarks.record import Record


def as_shipped(preset: str) -> Fit:
    """`VAEDetector` on all training rows: it holds its own calibration and early-stop rows out."""
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


def measure(method: str, raw: Split, seed: int) -> Record:
    """One of scikit-learn's detectors, or a preset of ours, as `ours/NAME`."""
    if method in CLASSICAL:
        return measured(CLASSICAL[method], standardised(raw), seed)
    return measured(as_shipped(method.removeprefix("ours/")), raw, seed)


if __name__ == "__main__":
    answer(measure)

"""Our side of `benchmarks.peer_speed`.

    python -m benchmarks.peer_ours WORK.json

Prints its timings, taken inside the process and without imports, as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.timing import WARM_UP_ROWS, median_seconds, pin, seconds

if TYPE_CHECKING:
    from anomaly import VAEDetector
    from anomaly.arrays import Float64
    from anomaly.scores import Score


def main() -> None:
    """Fit, then score; see `benchmarks.peer_speed.Work` for the keys."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pin(work["core"])
    import numpy as np
    import torch
    from sklearn.metrics import roc_auc_score

    from anomaly import VAEDetector
    from anomaly.data.frames import records_from_array
    from anomaly.scores import NegativeELBO, ReconstructionError

    torch.set_num_threads(1)
    with np.load(work["data"]) as arrays:
        fit_rows, new_rows, truth = arrays["fit_rows"], arrays["new_rows"], arrays["truth"]
    answer: dict[str, Any] = {}

    def measure(name: str, detector: VAEDetector) -> None:
        scoring = median_seconds(lambda: detector.anomaly_score(new_rows), 3)
        one = new_rows[:1]
        answer[f"{name}_rows_per_s"] = len(new_rows) / scoring
        of = detector.detector_
        features = of.features(records_from_array(new_rows, of.schema))
        scoring = median_seconds(lambda: of.backend.score_features(features), 3)
        answer[f"{name}_from_features_rows_per_s"] = len(new_rows) / scoring
        answer[f"{name}_one_row_ms"] = 1000 * median_seconds(
            lambda: detector.anomaly_score(one), 300
        )
        answer[f"{name}_auroc"] = float(roc_auc_score(truth, detector.anomaly_score(new_rows)))

    scores: dict[str, Score] = {
        "equal_fast": ReconstructionError(draws=0),
        "equal_elbo": NegativeELBO(),
    }
    # The first fit of a process imports parts of torch and SciPy.
    fit_equal_work({**work, "our_steps": 10}, fit_rows[:WARM_UP_ROWS], NegativeELBO())
    for name, score in scores.items():
        answer[f"{name}_fit_s"], detector = fit_equal_work(work, fit_rows, score)
        measure(name, detector)
    for preset in ("default", "fast"):
        detector = VAEDetector(preset=preset, random_state=0, device="cpu")
        answer[f"{preset}_fit_s"] = seconds(lambda detector=detector: detector.fit(fit_rows))  # type: ignore[misc]
        measure(preset, detector)
    print(json.dumps(answer))


def fit_equal_work(
    work: dict[str, Any], fit_rows: Float64, score: Score
) -> tuple[float, VAEDetector]:
    """Seconds from an array to a calibrated detector, with the peer's network and effort."""
    from anomaly import VAEDetector
    from anomaly.artifact import save
    from anomaly.assembly import DetectorConfig, assemble
    from anomaly.backends.backend import Device
    from anomaly.data.frames import records_from_array, schema_of_array
    from anomaly.data.splits import split_rows
    from anomaly.detector import Detector
    from anomaly.fitting import FitConfig
    from anomaly.models.networks import DenseNetworks
    from anomaly.models.vae import VAEConfig
    from anomaly.preprocessing.preprocessor import NumericInputs, PreprocessingConfig

    config = DetectorConfig(
        preprocessing=PreprocessingConfig(numeric_inputs=NumericInputs.STANDARDISED),
        model=VAEConfig(
            networks=DenseNetworks(hidden=tuple(work["hidden"])), latent=work["latent"]
        ),
        fit=FitConfig(
            steps=work["our_steps"],
            batch_rows=work["batch_rows"],
            mask_rate=0.0,
            noise=0.0,
        ),
        score=score,
    )
    made: list[Detector] = []

    def from_array_to_detector() -> None:
        schema = schema_of_array(fit_rows.shape[1])
        records = records_from_array(fit_rows, schema)
        splits = split_rows(len(records), seed=0)
        made.append(assemble(schema, records, splits, config, seed=0, device=Device.CPU).detector)

    took = seconds(from_array_to_detector)
    with tempfile.TemporaryDirectory() as folder:
        save(made[0], Path(folder) / "detector")
        return took, VAEDetector.load(Path(folder) / "detector", device="cpu")


if __name__ == "__main__":
    main()

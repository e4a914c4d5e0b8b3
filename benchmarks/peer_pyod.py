"""PyOD's side of `benchmarks.peer_speed`; runs in PyOD's own virtual environment.

    .venv-bench/bin/python -m benchmarks.peer_pyod WORK.json

Prints its timings, taken inside the process and without imports, as JSON.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.timing import WARM_UP_ROWS, median_seconds, pin, seconds

BATCHES = (32, 256, 1024, 4096, 16_384, 100_000)
CONSTRUCTOR_BATCH = 32
"""What a user who names no batch size gets."""


def main() -> None:
    """Fit, then score; see `benchmarks.peer_speed.Work` for the keys."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pin(work["core"])
    import numpy as np
    import torch
    from pyod.models.vae import VAE
    from sklearn.metrics import roc_auc_score

    torch.set_num_threads(1)
    with np.load(work["data"]) as arrays:
        fit_rows, new_rows, truth = arrays["fit_rows"], arrays["new_rows"], arrays["truth"]

    def unfitted(epochs: int) -> VAE:
        return VAE(
            encoder_neuron_list=work["hidden"],
            decoder_neuron_list=work["hidden"][::-1],
            latent_dim=work["latent"],
            epoch_num=epochs,
            batch_size=work["batch_rows"],
            dropout_rate=0.0,
            device="cpu",
            verbose=0,
        )

    # The first fit of a process imports parts of torch.
    unfitted(1).fit(fit_rows[:WARM_UP_ROWS])
    detector = unfitted(work["epochs"])
    fit_s = seconds(lambda: detector.fit(fit_rows))
    rows_per_s = {
        str(size): len(new_rows)
        / median_seconds(lambda size=size: detector.decision_function(new_rows, size), 3)  # type: ignore[misc]
        for size in BATCHES
    }
    one = new_rows[:1]
    answer = {
        "version": version("pyod"),
        "fit_s": fit_s,
        "rows_per_s_default": rows_per_s[str(CONSTRUCTOR_BATCH)],
        "rows_per_s_best": max(rows_per_s.values()),
        "rows_per_s_by_batch": rows_per_s,
        "one_row_ms": 1000 * median_seconds(lambda: detector.decision_function(one), 300),
        "auroc": float(roc_auc_score(truth, detector.decision_function(new_rows))),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()

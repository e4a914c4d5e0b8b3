"""PyOD's side of `benchmarks.images`: one seed of the digits; runs in PyOD's own environment.

.venv-bench/bin/python -m benchmarks.images_pyod SEED
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

from benchmarks.accuracy_pyod import PYOD
from benchmarks.digits import divided, images


def main() -> None:
    """VAE and autoencoder with PyOD's defaults and a seed."""
    import torch
    from sklearn.metrics import roc_auc_score

    torch.set_num_threads(1)
    seed = int(sys.argv[1])
    rows = images().reshape(len(images()), -1) / 255.0
    for digit in range(10):
        train, asked, truth = divided(digit, seed)
        for name in ("pyod/autoencoder", "pyod/vae"):
            started = perf_counter()
            detector = PYOD[name](seed).fit(rows[train])
            scores = detector.decision_function(rows[asked])
            found = {
                "method": f"{name}, defaults",
                "digit": digit,
                "auroc": float(roc_auc_score(truth, scores)),
                "fit_s": perf_counter() - started,
            }
            print(json.dumps(found))
            sys.stdout.flush()


if __name__ == "__main__":
    main()

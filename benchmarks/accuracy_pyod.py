"""PyOD's side of `benchmarks.accuracy`; runs in PyOD's own virtual environment.

    .venv-bench/bin/python -m benchmarks.accuracy_pyod WORK.json

Every detector has PyOD's defaults and a seed, and gets standardised rows. PyOD is imported only
here inside, so that our side can read the names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from anomaly.arrays import Float64
from benchmarks.contest import Fit, Fitted, answer, measured
from benchmarks.protocol import Split, standardised
from benchmarks.record import Record


def vae(seed: int) -> Any:
    """Kingma & Welling 2014, as PyOD has it. It scores with noise of torch's global generator,
    which its constructor seeds."""
    from pyod.models.vae import VAE

    return VAE(random_state=seed, verbose=0)


def autoencoder(seed: int) -> Any:
    """Reconstruction error of a plain autoencoder."""
    from pyod.models.auto_encoder import AutoEncoder

    return AutoEncoder(random_state=seed, verbose=0)


def lunar(seed: int) -> Any:
    """Goodge et al. 2022: a network on the distances to the nearest training rows."""
    from pyod.models.lunar import LUNAR

    return LUNAR(random_state=seed)


PYOD: dict[str, Callable[[int], Any]] = {
    "pyod/vae": vae,
    "pyod/autoencoder": autoencoder,
    "pyod/lunar": lunar,
}


def with_defaults(unfitted: Callable[[int], Any]) -> Fit:
    """Fit on all training rows."""

    def fit(train: Float64, seed: int) -> Fitted:
        detector = unfitted(seed).fit(train)
        return Fitted(lambda rows: np.asarray(detector.decision_function(rows)))

    return fit


def measure(method: str, raw: Split, seed: int) -> Record:
    """One of PyOD's detectors."""
    return measured(with_defaults(PYOD[method]), standardised(raw), seed)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    answer(measure)

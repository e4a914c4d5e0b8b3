"""One seed of scikit-learn's digits: prints one JSON line for each digit and method. Work of
`benchmarks.images`."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from time import perf_counter

import numpy as np

from anomaly.arrays import Float64, Int64
from anomaly.data.splits import Splits, split_rows
from anomaly.image_assembly import assemble_images
from anomaly.image_config import IMAGE_PRESETS
from anomaly.preprocessing.images import Layout
from benchmarks.classical import nearest_neighbours, pca_reconstruction
from benchmarks.contest import Fit
from benchmarks.digits import divided, images

EARLY_STOP_SHARE = 0.15


def main() -> None:
    """Ours, PCA and the nearest neighbour."""
    from sklearn.metrics import roc_auc_score

    seed = int(sys.argv[1])
    for digit in range(10):
        train, asked, truth = divided(digit, seed)
        for preset in ("whole", "whole_nearest"):
            started = perf_counter()
            scores = ours(preset, train, asked, seed)
            tell(f"ours: {preset}", digit, roc_auc_score(truth, scores), perf_counter() - started)
        for name, fit in {
            "PCA, 90 %": pca_reconstruction,
            "nearest neighbour": nearest_neighbours(1),
        }.items():
            started = perf_counter()
            scores = peer(fit, train, asked, seed)
            tell(name, digit, roc_auc_score(truth, scores), perf_counter() - started)


def ours(preset: str, train: Int64, asked: Int64, seed: int) -> Float64:
    """Of the images that train, some are held out to calibrate and to stop."""
    pixels = images()
    config = replace(IMAGE_PRESETS[preset], layout=Layout(tile=8, overlap=0, whole=True))
    parts = split_rows(len(train), seed=seed, early_stop_share=EARLY_STOP_SHARE)
    splits = Splits(train[parts.fit], train[parts.early_stop], train[parts.calibration], asked[:0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = assemble_images(
            lambda numbers: (pixels[number] for number in numbers), splits, config, seed=seed
        ).detector
    return detector.anomaly_score(pixels[number] for number in asked)


def peer(fit: Fit, train: Int64, asked: Int64, seed: int) -> Float64:
    """On all images that train."""
    rows = images().reshape(len(images()), -1) / 255.0
    return np.asarray(fit(rows[train], seed).score(rows[asked]))


def tell(method: str, digit: int, auroc: float, seconds: float) -> None:
    """Print one result."""
    found = {"method": method, "digit": digit, "auroc": float(auroc), "fit_s": seconds}
    print(json.dumps(found))
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""One seed of the magnetic tiles: prints one JSON line a method. Work of `benchmarks.images`."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from anomaly.arrays import Float64, Int64
from anomaly.data.image_reader import read_images, read_mask
from anomaly.data.pixels import Pixels
from anomaly.image_assembly import assemble_images
from anomaly.image_config import IMAGE_PRESETS
from anomaly.image_detector import ImageDetector, Mapped
from anomaly.maps import TileLook, TileMaps
from benchmarks.image_peers import PEERS, recognition
from benchmarks.magnetic_tiles import KINDS, Tiles, grouped_split, kinds_of, load
from training.image_evaluate import PixelMetrics, mask_at_size, pixel_metrics


def main() -> None:
    """Measure ours, its looks alone, and the peers."""
    seed = int(sys.argv[1])
    tiles = load(Path(os.environ.get("ANOMALY_DATA", "../shared/data")) / "mtd")
    splits = grouped_split(tiles, seed)
    images = [loaded.pixels for loaded in read_images(tiles.files)]
    asked = np.concatenate([splits.test, tiles.defective])

    started = perf_counter()
    detector = assemble_images(
        lambda numbers: (images[number] for number in numbers),
        splits,
        IMAGE_PRESETS["tiles"],
        seed=seed,
    ).detector
    fit_s = perf_counter() - started
    started = perf_counter()
    found = [examined(detector, images[number]) for number in asked]
    model_s = perf_counter() - started
    started = perf_counter()
    for _ in read_images([tiles.files[number] for number in asked]):
        pass
    decode_s = perf_counter() - started
    scores = np.array([mapped.score for mapped, _ in found])
    looks = np.array([of for _, of in found])
    pixels = against_masks(detector, tiles, asked, [mapped for mapped, _ in found])
    tell(
        "ours: all looks",
        tiles,
        splits.test,
        scores,
        fit_s=fit_s,
        images_per_s=len(asked) / (model_s + decode_s),
        model_images_per_s=len(asked) / model_s,
        pixel_auroc=pixels.auroc,
        aupro=pixels.aupro,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    for number, look in enumerate(("hidden cells", "drawn defects", "texture")):
        tell(f"ours: {look} alone", tiles, splits.test, looks[:, number])
    train = [images[number] for number in np.concatenate([splits.fit, splits.early_stop])]
    for name, fit in PEERS.items():
        started = perf_counter()
        score = fit(train, seed)
        fit_s = perf_counter() - started
        started = perf_counter()
        scores = score([images[number] for number in asked])
        speed = len(asked) / (perf_counter() - started)
        tell(name, tiles, splits.test, scores, fit_s=fit_s, model_images_per_s=speed, leaky=None)
    leaky_recognition(tiles, images, seed)


def examined(detector: ImageDetector, pixels: Pixels) -> tuple[Mapped, Float64]:
    """One image: score and evidence, and what each look says."""
    (look,) = detector.looks([pixels])
    assert isinstance(detector.maps, TileMaps)
    assert isinstance(look, TileLook)
    return Mapped(detector.maps.read(look), *look.errors.shape), detector.maps.told(look)


def against_masks(
    detector: ImageDetector, tiles: Tiles, asked: Int64, mapped: list[Mapped]
) -> PixelMetrics:
    """Heat against the masks of the defects; normal images have none."""
    heats = [detector.heat(of).values for of in mapped]
    masks = []
    for number, heat in zip(asked, heats, strict=True):
        mask = tiles.files[number].mask
        if mask is None:
            masks.append(np.zeros(heat.shape, dtype=bool))
        else:
            masks.append(mask_at_size(read_mask(mask), *heat.shape))
    return pixel_metrics(heats, masks)


def leaky_recognition(tiles: Tiles, images: list[Pixels], seed: int) -> None:
    """What recognition reaches where photographs are divided at random: a warning."""
    order = np.random.default_rng(seed).permutation(tiles.normal)
    test = order[: len(order) // 5]
    score = recognition([images[number] for number in order[len(order) // 5 :]], seed)
    scores = score([images[number] for number in np.concatenate([test, tiles.defective])])
    truth = np.arange(len(scores)) >= len(test)
    print(
        json.dumps(
            {"method": "recognition, random split", "leaky": float(roc_auc_score(truth, scores))}
        )
    )


def tell(method: str, tiles: Tiles, test: Int64, scores: Float64, **more: float | None) -> None:
    """Print one result: scores are of the test images and then of all defects."""
    normal, defects = scores[: len(test)], scores[len(test) :]
    kinds = np.array(kinds_of(tiles, tiles.defective))
    judging = np.isin(tiles.defective, tiles.for_judging)

    def against(chosen: Float64, measure: Callable[..., float] = roc_auc_score) -> float:
        truth = np.arange(len(normal) + len(chosen)) >= len(normal)
        return float(measure(truth, np.concatenate([normal, chosen])))

    found = {
        "method": method,
        "odd": against(defects[judging]),
        "even": against(defects[~judging]),
        "all": against(defects),
        "ap": against(defects, average_precision_score),
        **{kind: against(defects[kinds == kind]) for kind in KINDS},
        **more,
    }
    print(json.dumps(found))
    sys.stdout.flush()


if __name__ == "__main__":
    main()

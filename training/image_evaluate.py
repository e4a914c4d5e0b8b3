"""How good a finished detector of images is: as one of rows, and pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from anomaly.arrays import Bool, Float32, Float64, Int64
from anomaly.data.image_reader import read_mask
from anomaly.image_detector import ImageDetector
from training.evaluate import Evaluation
from training.image_data import ImageData

MOST_MAPS = 1_000
"""Images that are measured pixel by pixel: their maps stay in memory meanwhile."""

LARGEST_FALSE_POSITIVE_RATE = 0.3
"""Of the pixels, up to which the overlap with regions counts (Bergmann et al. 2021, sec. 5.3)."""


@dataclass(frozen=True)
class PixelMetrics:
    """How well heat finds the anomalous pixels of a set of images.

    Attributes:
        auroc: Over all pixels of all images; large anomalies count more.
        aupro: Area under the per-region overlap up to a false-positive rate of 0.3, over 0.3:
            each connected anomalous region counts alike.
    """

    auroc: float
    aupro: float


def evaluate_images(
    detector: ImageDetector, data: ImageData, normal: Int64, anomalous: Int64
) -> tuple[Evaluation, PixelMetrics | None]:
    """Score test images and compare with the truth, and with masks where there are any.

    Args:
        normal, anomalous: Numbers of files that took no part in making the detector.
    """
    numbers = np.concatenate([normal, anomalous])
    is_anomalous = np.arange(len(numbers)) >= len(normal)
    scores = np.zeros(len(numbers))
    heats: list[Float32] = []
    masks: list[Bool] = []
    measured = _measured(data, numbers, is_anomalous)
    for place, mapped in enumerate(detector.mapped(data.pixels(numbers))):
        scores[place] = mapped.score
        if place in measured:
            heat = detector.heat(mapped).values
            mask = data.files[numbers[place]].mask
            heats.append(heat.astype(np.float16).astype(np.float32))
            masks.append(
                mask_at_size(read_mask(mask, data.limits), *heat.shape)
                if mask
                else np.zeros(heat.shape, bool)
            )
    verdicts = detector.verdicts(scores)
    groups = None if data.groups is None else data.groups[numbers]
    if detector.card.unit_of_calibration != "group":
        groups = None
    found = Evaluation(scores, verdicts.p_values, is_anomalous, verdicts.alpha, {}, groups)
    has_both = any(mask.any() for mask in masks) and not all(mask.all() for mask in masks)
    return found, pixel_metrics(heats, masks) if has_both else None


def pixel_metrics(heats: Sequence[Float32], masks: Sequence[Bool]) -> PixelMetrics:
    """From heatmaps and masks (height, width) of the same images; some pixel must be masked."""
    values = np.concatenate([heat.ravel() for heat in heats])
    truth = np.concatenate([mask.ravel() for mask in masks])
    return PixelMetrics(float(roc_auc_score(truth, values)), aupro(heats, masks))


def aupro(heats: Sequence[Float32], masks: Sequence[Bool]) -> float:
    """Area under the per-region overlap curve; see `PixelMetrics`."""
    usual = np.sort(np.concatenate([heat[~mask] for heat, mask in zip(heats, masks, strict=True)]))
    rates = np.linspace(0.0, LARGEST_FALSE_POSITIVE_RATE, 301)
    # The threshold at which that share of the normal pixels lies above.
    above = np.ceil((1 - rates) * len(usual)).astype(np.int64)
    thresholds = usual[np.minimum(above, len(usual) - 1)]
    overlaps = [
        1.0 - np.searchsorted(np.sort(heat[region]), thresholds, side="right") / region.sum()
        for heat, mask in zip(heats, masks, strict=True)
        for region in _regions(mask)
    ]
    curve: Float64 = np.mean(overlaps, axis=0)
    return float(np.trapezoid(curve, rates) / LARGEST_FALSE_POSITIVE_RATE)


def _regions(mask: Bool) -> list[Bool]:
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return [labels == number for number in range(1, count + 1)]


def _measured(data: ImageData, numbers: Int64, is_anomalous: Bool) -> set[int]:
    """Places of images whose truth is known for every pixel, evenly taken if there are many."""
    known = [
        place
        for place, number in enumerate(numbers)
        if not is_anomalous[place] or data.files[number].mask is not None
    ]
    if not any(is_anomalous[place] for place in known):
        return set()
    chosen = np.linspace(0, len(known) - 1, min(len(known), MOST_MAPS)).astype(int)
    return {known[n] for n in chosen}


def mask_at_size(mask: Bool, height: int, width: int) -> Bool:
    """The mask at the size of a heatmap: a pixel counts if half of it does."""
    from PIL import Image

    resized = Image.fromarray(mask.astype(np.uint8) * 255).resize(
        (width, height), Image.Resampling.BOX
    )
    at_size: Bool = np.asarray(resized) >= 128
    return at_size

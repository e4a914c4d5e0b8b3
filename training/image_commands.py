"""The commands that make detectors, where DATA are images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anomaly.cli.console import progress, result, say
from anomaly.cli.console import table as table_of
from anomaly.data.image_files import ImageReject
from anomaly.data.options import ReadOptions
from anomaly.image_config import LARGEST_WHOLE, WHOLE_SIDES
from anomaly.image_detector import AnyDetector, ImageDetector, of_images
from training.config import load_image_config
from training.image_data import ImageData, ImageTable, find_images, usual_side
from training.image_pipeline import train_images
from training.image_remeasure import already_seen, measured_images, recalibrated_images
from training.telling import look_note, tell


def train_on_images(
    data: Path,
    name: str,
    table: ImageTable | None,
    normal_label: str | None,
    config: Path | None,
    settings: Sequence[str],
    options: ReadOptions,
    *,
    is_skipping: bool,
    as_json: bool,
) -> None:
    """`anomaly train` of a folder, or of a table of paths."""
    found = found_images(data, table, normal_label, options, is_skipping=is_skipping)
    run = load_image_config(config, settings, fitting_settings(found))
    with progress("training") as update, warnings.catch_warnings():
        # What the pipeline warns of comes back as notes, to be said once and kept in the card.
        warnings.simplefilter("ignore")
        trained = train_images(data, found, name, run, on_look=look_note(update))
    tell(name, trained, "IMAGES", as_json=as_json)


def recalibrated_on_images(
    detector: AnyDetector,
    alpha: float | None,
    data: Path | None,
    table: ImageTable | None,
    options: ReadOptions,
) -> ImageDetector:
    """`anomaly calibrate` of a model of images."""
    found = None if data is None else found_images(data, table, None, options, is_skipping=False)
    name = "" if data is None else data.resolve().name
    return recalibrated_images(of_images(detector), alpha, found, name)


def evaluate_on_images(
    detector: AnyDetector,
    data: Path,
    table: ImageTable | None,
    normal_label: str | None,
    options: ReadOptions,
    *,
    is_skipping: bool,
    as_json: bool,
) -> None:
    """`anomaly evaluate` of a folder, or of a table of paths."""
    model = of_images(detector)
    found = found_images(data, table, normal_label, options, is_skipping=is_skipping)
    if known := already_seen(model, found):
        say(
            f"note: at least {known:,} of the normal images trained the model, so that too few of "
            "them are flagged"
        )
    evaluation, pixels = measured_images(model, found)
    metrics = dict(evaluation.metrics)
    if pixels is not None:
        metrics |= {"test/pixel_auroc": pixels.auroc, "test/pixel_aupro": pixels.aupro}
    lines = table_of([(key, f"{value:.4g}") for key, value in metrics.items()])
    result({"alpha": evaluation.alpha, "metrics": metrics}, as_json=as_json, text=lines)


def fitting_settings(data: ImageData) -> list[str]:
    """Small images are seen whole, at about their size; larger ones in tiles."""
    side = usual_side(data, np.setdiff1d(data.normal, data.kept_for_test))
    if side > LARGEST_WHOLE:
        return ["preset=tiles"]
    tile = next(tile for tile in WHOLE_SIDES if tile >= side)
    return ["preset=whole", f"detector.layout.tile={tile}"]


def found_images(
    data: Path,
    table: ImageTable | None,
    normal_label: str | None,
    options: ReadOptions,
    *,
    is_skipping: bool,
) -> ImageData:
    """The images that DATA names; those that cannot be read are told, if they may be left out."""

    def on_reject(reject: ImageReject) -> None:
        say(f"skipped {reject.name}: {reject.message}")

    on_error = on_reject if is_skipping else None
    found = find_images(data, table, normal_label, options, on_error)
    if len(found.anomalous):
        normal, others = len(found.normal), len(found.anomalous)
        say(f"note: {normal:,} normal images, {others:,} others to test with")
    return found

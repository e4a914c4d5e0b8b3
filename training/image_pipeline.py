"""From image files to a registered detector; see `training.pipeline` for tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from anomaly.arrays import Int64
from anomaly.artifact.card import card_text
from anomaly.artifact.mlflow_flavor import check_name, check_registry
from anomaly.data.splits import Splits
from anomaly.detector import MARKS
from anomaly.fitting import Progress
from anomaly.image_assembly import assemble_images
from anomaly.image_detector import ImageDetector
from training.config import ImageRunConfig, to_plain, to_yaml
from training.evaluate import Evaluation
from training.image_data import ImageData, content_marks, divide_images, images_digest
from training.image_evaluate import PixelMetrics, evaluate_images
from training.image_report import image_figures
from training.near_copies import MANY, note, share_of_near_copies, thumbnails
from training.pipeline import kept_if_unregistered, register
from training.tracking import tracked_run

MOST_COMPARED = 3_000
"""Images of each side that are looked through for near-copies."""

FEW = 30
"""Fit images; fewer show little of what is normal."""


@dataclass(frozen=True)
class TrainedImages:
    """What a run made; as `training.pipeline.Trained`."""

    detector: ImageDetector
    evaluation: Evaluation
    version: str
    is_champion: bool
    run_id: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, in words."""
        return self.detector.card.notes


def train_images(
    source: Path,
    data: ImageData,
    name: str,
    config: ImageRunConfig,
    *,
    on_look: Callable[[Progress], None] | None = None,
) -> TrainedImages:
    """Train, evaluate and register a detector of images.

    Args:
        source: The folder or the table that `data` was found by.

    Raises:
        ConfigInvalid: no model can have that name, or the settings contradict each other.
        BadData: an image cannot be read.
        DependencyDown: the registry does not answer; a finished detector is saved beside.
    """
    check_name(name)
    splits, numbers = divide_images(data, config)
    digest = images_digest(data.files)
    check_registry()
    assembled = assemble_images(
        lambda chosen: data.pixels(numbers[chosen]),
        splits,
        config.detector,
        seed=config.seed,
        device=config.device,
        groups=None if data.groups is None or config.split.by != "group" else data.groups[numbers],
        exchangeability=f"new normal {'groups' if config.split.by == 'group' else 'images'} come "
        f"from the same population as the calibration "
        f"{'groups' if config.split.by == 'group' else 'images'}",
        data={
            "name": source.resolve().name,
            "sha256": digest,
            MARKS: content_marks(data, numbers[splits.fit]),
        },
        on_look=on_look,
    )
    tested = np.sort(np.concatenate([numbers[splits.test], data.kept_for_test]))
    evaluation, pixels = evaluate_images(assembled.detector, data, tested, data.anomalous)
    near_copies = _near_copies(data, numbers, splits)
    detector = told(assembled.detector, evaluation, pixels, near_copies, few_note(splits))
    run = tracked_run(experiment=name, run_name=f"{name}-{digest[:8]}")
    with kept_if_unregistered(detector, name), run as tracker:
        tracker.params(to_plain(config), to_yaml(config))
        tracker.files(str(source), digest)
        for look in assembled.fitted.history:
            tracker.look(look)
        calibration = detector.calibration
        tracker.metrics(
            {
                "calib/threshold": calibration.threshold,
                "calib/alpha": calibration.alpha,
                "calib/n": calibration.n,
                **detector.card.metrics,
            }
        )
        measured = np.concatenate([tested, data.anomalous])
        tracker.figures(
            image_figures(detector, assembled.fitted.history, evaluation, data, measured)
        )
        tracker.text(card_text(detector), "card.md")
        registered = register(detector, name)
    return TrainedImages(detector, evaluation, *registered)


def told(
    detector: ImageDetector,
    evaluation: Evaluation,
    pixels: PixelMetrics | None,
    near_copies: float,
    few: str | None,
) -> ImageDetector:
    """The detector whose card tells what was measured.

    Args:
        few: See `few_note`.
    """
    metrics = dict(evaluation.metrics)
    if pixels is not None:
        metrics |= {"test/pixel_auroc": pixels.auroc, "test/pixel_aupro": pixels.aupro}
    notes = detector.card.notes
    if near_copies > MANY:
        by_group = detector.card.unit_of_calibration == "group"
        notes = (*notes, note(near_copies, by_group))
    if few is not None:
        notes = (few, *notes)
    return replace(detector, card=replace(detector.card, metrics=metrics, notes=notes))


def few_note(splits: Splits) -> str | None:
    """What to tell the user whose images are too few to show what is normal, if they are."""
    fit, held_out, calibration, test = (
        len(part) for part in (splits.fit, splits.early_stop, splits.calibration, splits.test)
    )
    if fit >= FEW:
        return None
    return (
        f"only {fit} of {fit + held_out + calibration + test} normal images fit the model "
        f"({held_out} tell which errors are usual, {calibration} calibrate, {test} test). So few "
        "show little of what is normal: more anomalies are missed, though the false-alarm rate "
        "holds. Add normal images until a hundred or more fit"
        + ("; `--set split.test_share=0` measures nothing and fits more." if test else ".")
    )


def _near_copies(data: ImageData, numbers: Int64, splits: Splits) -> float:
    held_out = np.concatenate([numbers[splits.calibration], numbers[splits.test]])
    held_out = np.concatenate([held_out, data.kept_for_test])
    parts = [thumbnails(data.pixels(_evenly(part))) for part in (numbers[splits.fit], held_out)]
    return share_of_near_copies(*parts)


def _evenly(numbers: Int64) -> Int64:
    places = np.linspace(0, len(numbers) - 1, min(len(numbers), MOST_COMPARED))
    return numbers[places.astype(np.int64)]

"""A trained detector of images meets others: to be calibrated anew, or to be measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from anomaly.arrays import Int64, Objects
from anomaly.assembly import highest_of_each
from anomaly.calibration import calibrate
from anomaly.contamination import HIDING_IMAGES, Contamination
from anomaly.data.records import is_missing
from anomaly.data.splits import refuse_missing
from anomaly.detector import MARKS
from anomaly.errors import BadData, ConfigInvalid
from anomaly.image_detector import ImageDetector
from training.evaluate import Evaluation
from training.image_data import ImageData, known_images
from training.image_evaluate import PixelMetrics, evaluate_images
from training.remeasure import outdated


def recalibrated_images(
    detector: ImageDetector, alpha: float | None, data: ImageData | None, name: str = ""
) -> ImageDetector:
    """The same model with another threshold; as `training.remeasure.recalibrated`.

    Args:
        data: New images that took no part in training; the scores of the normal ones replace the
            old ones.
        name: Of the folder or table that they come from.

    Raises:
        AlphaNotSupported: too few calibration images, or groups, for that alpha.
        BadData: these are the images that the model was trained on.
        ConfigInvalid: groups for a model of images, or none for a model of groups.
    """
    old, card = detector.calibration, detector.card
    rate = old.alpha if alpha is None else alpha
    card = outdated(card)
    if data is None:
        note = f"alpha was {old.alpha:g} when the model was trained and measured"
        card = replace(card, notes=(*card.notes, note))
        return replace(detector.with_alpha(rate), card=card)
    if known := known_images(data, data.normal, card.data.get(MARKS, "")):
        raise BadData(
            f"{name} holds images that the model was trained on, {known} of those that it knows "
            "again: their scores are too small to calibrate with. Give normal images that took no "
            "part in training.",
            code="training_data",
        )
    groups = _groups(detector, data)
    scores, hottest = detector.measured(data.pixels(data.normal))
    if groups is not None:
        scores = highest_of_each(scores, groups[data.normal])
    found = Contamination.of_scores(scores)
    notes = [note for note in card.notes if HIDING_IMAGES not in note]
    notes += [found.message_of_images(old.unit)] if found.is_likely else []
    notes.append(f"calibrated anew on {len(scores):,} {old.unit}s of {name}")
    card = replace(
        card,
        rows={**card.rows, "calibration": len(hottest)},
        notes=tuple(notes),
        calibrated=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    calibration = calibrate(scores, rate, old.rule, old.unit)
    return detector.calibrated(calibration, hottest, card)


def measured_images(
    detector: ImageDetector, data: ImageData
) -> tuple[Evaluation, PixelMetrics | None]:
    """Measure a detector on images; without labels all are taken for normal.

    Of a layout that keeps images for the test, these are measured.

    Raises:
        ConfigInvalid: groups for a model of images, or none for a model of groups.
    """
    _groups(detector, data)
    return evaluate_images(detector, data, measured_normal(data), data.anomalous)


def measured_normal(data: ImageData) -> Int64:
    """The normal images that measure a finished detector."""
    return data.kept_for_test if len(data.kept_for_test) else data.normal


def already_seen(detector: ImageDetector, data: ImageData) -> int:
    """How many of the images that would measure the detector trained it, as far as it knows."""
    return known_images(data, measured_normal(data), detector.card.data.get(MARKS, ""))


def _groups(detector: ImageDetector, data: ImageData) -> Objects | None:
    unit = detector.card.unit_of_calibration
    if (data.groups is not None) != (unit == "group"):
        advice = "name the groups with --group-column, in a table with --image-column."
        raise ConfigInvalid(
            f"the model was calibrated on {unit}s: "
            + ("drop --group-column." if data.groups is not None else advice)
        )
    if data.groups is not None:
        refuse_missing(is_missing(data.groups[data.normal]), "group")
    return data.groups

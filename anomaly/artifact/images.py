"""What only a detector of images has: its entry in the manifest and its tensors, and back."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from anomaly.artifact.golden import check_scores
from anomaly.artifact.manifest import ImageEntry
from anomaly.artifact.tensors import Tensors
from anomaly.backends.backend import Backend
from anomaly.calibration import Calibration
from anomaly.data.pixels import Pixels
from anomaly.detector import Card
from anomaly.errors import ArtifactRejected
from anomaly.image_detector import ImageDetector
from anomaly.maps import Usual
from anomaly.models.convolutional import ConvNetworks

PREFIX = "usual."
N_GOLDEN = 4
GOLDEN_SIDE = 96


def describe_images(detector: ImageDetector) -> tuple[ImageEntry, Tensors]:
    """Take a detector apart into what JSON and what tensors hold."""
    entry = ImageEntry(
        preprocessor=detector.preprocessor,
        aggregate=detector.aggregate,
        heat_unit=detector.heat_unit,
        golden_scores=tuple(detector.anomaly_score(golden_images(detector)).tolist()),
    )
    tensors = {f"{PREFIX}{f.name}": getattr(detector.usual, f.name) for f in fields(Usual)}
    return entry, tensors


def build_images(
    entry: ImageEntry, tensors: Tensors, calibration: Calibration, card: Card, backend: Backend
) -> ImageDetector:
    """Put it together again.

    Raises:
        ArtifactRejected: the parts do not fit each other.
        KeyError: an array is missing.
    """
    preprocessor, vae = entry.preprocessor, backend.model.vae
    usual = Usual(*(tensors[f"{PREFIX}{f.name}"] for f in fields(Usual)))
    side = preprocessor.layout.tile
    is_of_tiles = (
        isinstance(vae.networks, ConvNetworks)
        and (vae.networks.height, vae.networks.width) == (side, side)
        and vae.sizes.inputs == (preprocessor.channels + 1) * side * side
        and vae.sizes.context == preprocessor.context
        and vae.likelihood.gaussian == vae.likelihood.targets == preprocessor.channels * side * side
    )
    if not is_of_tiles:
        raise ArtifactRejected("the model explains other tiles than the images are cut into")
    needed = Usual.none(preprocessor.layout.levels)
    if any(getattr(usual, f.name).shape != getattr(needed, f.name).shape for f in fields(Usual)):
        raise ArtifactRejected("the usual errors have another shape than the model needs")
    return ImageDetector(
        preprocessor, entry.aggregate, usual, entry.heat_unit, calibration, card, backend
    )


def check_golden_images(detector: ImageDetector, entry: ImageEntry) -> None:
    """Score the golden images again; see `check_scores`."""
    scores = detector.anomaly_score(golden_images(detector))
    check_scores(scores, np.array(entry.golden_scores), detector.calibration.tolerance)


def golden_images(detector: ImageDetector) -> list[Pixels]:
    """Images that a model must score as it did when it was saved; none is from its training data.

    Blots and noise in whole numbers, so that they are the same on every machine.
    """
    rng = np.random.default_rng(0)
    side, channels = GOLDEN_SIDE, detector.preprocessor.channels
    found = []
    for number in range(N_GOLDEN):
        cell = 2 ** (number + 2)
        blots = rng.integers(40, 200, (side // cell + 1, side // cell + 1, channels))
        coarse = blots.repeat(cell, axis=0).repeat(cell, axis=1)[:side, : side - 8 * number]
        found.append((coarse + rng.integers(0, 40, coarse.shape)).astype(np.uint8))
    return found

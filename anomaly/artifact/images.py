"""What only a detector of images has: its entry in the manifest and its tensors, and back."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from anomaly.artifact.golden import check_scores
from anomaly.artifact.manifest import ImageEntry
from anomaly.artifact.tensors import Tensors
from anomaly.backends.backend import Backend
from anomaly.backends.defects import DefectModel
from anomaly.calibration import Calibration
from anomaly.data.pixels import Pixels
from anomaly.detector import Card
from anomaly.errors import ArtifactRejected
from anomaly.image_detector import ImageDetector
from anomaly.inspection import Inspection
from anomaly.maps import Maps, TileMaps, WholeMaps
from anomaly.models.convolutional import ConvNetworks
from anomaly.preprocessing.images import PLANES
from anomaly.preprocessing.watched import IMAGE_NUMBERS
from anomaly.reference import Reference
from anomaly.texture import Texture

MAPS = "maps."
TEXTURE = "texture."
HOTTEST = "hottest"
N_GOLDEN = 4
GOLDEN_SIDE = 96


def describe_images(detector: ImageDetector) -> tuple[ImageEntry, Tensors]:
    """Take a detector apart into what JSON and what tensors hold."""
    inspection = detector.inspection
    entry = ImageEntry(
        preprocessor=detector.preprocessor,
        defects=None if inspection is None else inspection.defects.network,
        golden_scores=tuple(detector.anomaly_score(golden_images(detector)).tolist()),
    )
    tensors = {**_named(MAPS, detector.maps), HOTTEST: detector.hottest}
    if inspection is not None:
        tensors |= {**_named(TEXTURE, inspection.texture), **inspection.defects.parameters}
    return entry, tensors


def build_images(
    entry: ImageEntry,
    tensors: Tensors,
    calibration: Calibration,
    reference: Reference,
    card: Card,
    backend: Backend,
) -> ImageDetector:
    """Put it together again.

    Raises:
        ArtifactRejected: the parts do not fit each other.
        KeyError: an array is missing.
    """
    preprocessor, vae = entry.preprocessor, backend.model.vae
    side, channels = preprocessor.layout.tile, preprocessor.channels
    is_of_tiles = (
        isinstance(vae.networks, ConvNetworks)
        and (vae.networks.height, vae.networks.width) == (side, side)
        and (vae.sizes.inputs, vae.sizes.context) == ((channels + PLANES) * side * side, 0)
        and vae.likelihood.gaussian == vae.likelihood.targets == channels * side * side
        and len(preprocessor.center) == len(preprocessor.spread) == channels
    )
    if not is_of_tiles:
        raise ArtifactRejected("the model explains other tiles than the images are cut into")
    is_whole = preprocessor.layout.whole
    if is_whole != (entry.defects is None):
        raise ArtifactRejected("defects are looked for in tiles, and nowhere else")
    maps: Maps
    if is_whole:
        maps = WholeMaps(**_arrays(tensors, MAPS, WholeMaps.shapes(side), np.float64))
    else:
        maps = TileMaps(**_arrays(tensors, MAPS, TileMaps.shapes(), np.float64))
    inspection = None
    if entry.defects is not None:
        if entry.defects.channels != channels:
            raise ArtifactRejected("defects are looked for in other colours than the images have")
        shapes = entry.defects.shapes()
        defects = DefectModel(entry.defects, _arrays(tensors, "", shapes, np.float32))
        texture = Texture(**_arrays(tensors, TEXTURE, Texture.shapes(), np.float64))
        inspection = Inspection(defects, texture)
    hottest = tensors[HOTTEST]
    if hottest.ndim != 1 or hottest.dtype != np.float64 or (np.diff(hottest) < 0).any():
        raise ArtifactRejected("the largest evidence of calibration images is not ascending")
    if (reference.features, reference.categories) != (IMAGE_NUMBERS, ()):
        raise ArtifactRejected("the reference describes something else than images")
    return ImageDetector(
        preprocessor, maps, inspection, hottest, calibration, reference, card, backend
    )


def _named(prefix: str, arrays: Maps | Texture) -> Tensors:
    return {f"{prefix}{field.name}": getattr(arrays, field.name) for field in fields(arrays)}


def _arrays(
    tensors: Tensors, prefix: str, shapes: dict[str, tuple[int, ...]], kind: type
) -> Tensors:
    found = {name: tensors[f"{prefix}{name}"] for name in shapes}
    for name, array in found.items():
        if array.shape != shapes[name] or array.dtype != kind:
            raise ArtifactRejected(f"the tensor {prefix + name!r} has another shape or type")
    return found


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

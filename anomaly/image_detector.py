"""The frozen whole for images: what `anomaly.detector` is for tables. It does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import TypeAlias

import numpy as np

from anomaly.arrays import Float64
from anomaly.backends.backend import Backend, BackendName, Device, ScoringModel, open_backend
from anomaly.calibration import Calibration, Rule
from anomaly.data.pixels import Pixels
from anomaly.detector import Card, Detector, Verdicts
from anomaly.errors import ConfigInvalid
from anomaly.heat import Heat, heat_of
from anomaly.maps import Usual
from anomaly.preprocessing.images import ImagePreprocessor, Tiled, joined, together

IMAGES_AT_ONCE = 8
"""Their tiles fill blocks together; more would only cost memory."""


class Aggregate(StrEnum):
    """How the errors of an image become its score.

    Attributes:
        HOTTEST: The largest errors of each level, against what is usual (`anomaly.maps`).
        TOTAL: The score of the row itself; of images that are one row.
    """

    HOTTEST = "hottest"
    TOTAL = "total"


@dataclass(frozen=True)
class Mapped:
    """One image, scored pixel by pixel.

    Attributes:
        score: Higher is more anomalous.
        standardised: (height, width) of each level; 0 is usual.
    """

    score: float
    standardised: list[Float64]


@dataclass(frozen=True)
class ImageDetector:
    """A fitted model of images with its threshold. Equal pixels give equal answers, alone or in any
    company.

    Attributes:
        preprocessor: Pixels to rows.
        aggregate: Errors to a score.
        usual: What errors are usual at each place.
        heat_unit: Standardised error that the hottest pixel of a normal image exceeds with
            probability alpha: 1 on every heatmap.
        calibration: Scores to p-values, and alpha.
        card: What a reader must know.
        backend: The model on its device.
    """

    preprocessor: ImagePreprocessor
    aggregate: Aggregate
    usual: Usual
    heat_unit: float
    calibration: Calibration
    card: Card
    backend: Backend

    @property
    def model(self) -> ScoringModel:
        """The arrays behind the backend."""
        return self.backend.model

    def detect(self, images: Iterable[Pixels], alpha: float | None = None) -> Verdicts:
        """Score images and decide.

        Args:
            images: (height, width, channels) each, as `anomaly.data.images.decode` makes them.
            alpha: Another false-alarm rate, for this call only.

        Raises:
            AlphaNotSupported: the calibration images cannot support that alpha.
        """
        return self.verdicts(self.anomaly_score(images), alpha)

    def verdicts(self, scores: Float64, alpha: float | None = None) -> Verdicts:
        """What scores (N,) of this detector mean."""
        p_values = self.calibration.p_values(scores)
        flagged = self.calibration.is_anomaly(p_values, alpha)
        in_force = self.calibration.alpha if alpha is None else alpha
        return Verdicts(scores, p_values, flagged, in_force, ())

    def anomaly_score(self, images: Iterable[Pixels]) -> Float64:
        """(N,) float64, higher is more anomalous."""
        return np.array([mapped.score for mapped in self.maps(images)], dtype=np.float64)

    def explain(self, images: Iterable[Pixels]) -> Iterator[Heat]:
        """Where each image is anomalous."""
        for mapped in self.maps(images):
            yield self.heat(mapped)

    def heat(self, mapped: Mapped) -> Heat:
        """The heatmap of an image that was scored."""
        return heat_of(mapped.standardised, self.heat_unit)

    def maps(self, images: Iterable[Pixels]) -> Iterator[Mapped]:
        """Scores with the errors behind them, image by image, in bounded memory."""
        rest = iter(images)
        while some := [self.preprocessor.tiles(pixels) for pixels in islice(rest, IMAGES_AT_ONCE)]:
            yield from self._maps(some)

    def encode(self, images: Iterable[Pixels]) -> Float64:
        """(N, L) posterior means: of the whole image, or the mean over its tiles."""
        found = []
        for pixels in images:
            latents = self.backend.encode(self.preprocessor.tiles(pixels).features)[0]
            found.append(latents.mean(0))
        return np.array(found)

    def with_alpha(self, alpha: float, rule: Rule | None = None) -> ImageDetector:
        """The same model at another false-alarm rate."""
        return replace(self, calibration=self.calibration.with_alpha(alpha, rule))

    def on(self, name: BackendName | None = None, device: Device = Device.AUTO) -> ImageDetector:
        """The same detector on another backend or device, with the same block size."""
        backend = open_backend(self.model, name, device, self.backend.block_rows)
        return replace(self, backend=backend)

    def _maps(self, some: Sequence[Tiled]) -> list[Mapped]:
        terms = self.backend.score_features(together([tiled.features for tiled in some]))
        ends = np.cumsum([len(tiled.places) for tiled in some])
        found = []
        for tiled, end in zip(some, ends, strict=True):
            rows = slice(end - len(tiled.places), end)
            errors = self.errors(terms.per_target[rows], tiled)
            standardised = self.usual.standardised(errors, tiled.brightness)
            match self.aggregate:
                case Aggregate.HOTTEST:
                    score = self.usual.score(standardised)
                case Aggregate.TOTAL:
                    score = float(terms.scores[rows].sum())
            found.append(Mapped(score, standardised))
        return found

    def errors(self, per_target: Float64, tiled: Tiled) -> list[Float64]:
        """Terms (rows, channels * pixels) as one map of errors for each level."""
        side = self.preprocessor.layout.tile
        by_pixel = per_target.reshape(len(per_target), -1, side * side).sum(1)
        return joined(by_pixel, tiled, self.preprocessor.layout)


AnyDetector: TypeAlias = Detector | ImageDetector


def of_tables(detector: AnyDetector) -> Detector:
    """The detector, if it is one of tables.

    Raises:
        ConfigInvalid: it looks at images.
    """
    if isinstance(detector, ImageDetector):
        raise ConfigInvalid(
            "the model looks at images, not at columns of a table. Give it a folder of PNG or JPEG "
            "files, or a table of their paths with --image-column; in Python use `load_images`."
        )
    return detector


def of_images(detector: AnyDetector) -> ImageDetector:
    """The detector, if it is one of images.

    Raises:
        ConfigInvalid: it looks at the columns of a table.
    """
    if isinstance(detector, Detector):
        raise ConfigInvalid(
            "the model looks at columns of a table, not at images. Give it a CSV or Parquet file, or "
            "name a model that was trained on images; in Python, `anomaly.load`."
        )
    return detector
